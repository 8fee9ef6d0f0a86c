#!/bin/sh
# What the word that is being typed may be: a candidate a line, with a word or more about it after a space.
#   candidates.sh TYPED fab WORDS-BEFORE...
# It reads what fab kept of its last runs in this project (see completion.py), so that no Python is waited for. The
# shells get it inside a string of theirs: no quote but the double one, and no backslash, may be in it.

typed=$1
shift 2
line=$*

has() { [ -e "$1" ]; }

offer() {
    case $1 in
        "$typed"*) echo "$1 $2" ;;
    esac
}

project=$(pwd -P)
while [ "$project" ] && ! has "$project"/hosts/*.yml; do
    project=${project%/*}
done
place=${XDG_CACHE_HOME:-$HOME/.cache}/fabrelease/completion$project
if ! has "$place/%commands"; then # nothing ran here yet
    # shellcheck disable=SC2086  # Invoke takes the whole line apart itself
    fab --complete -- fab $line | while read -r word; do
        offer "$word" ""
    done
    exit
fi

commands=$(cat "$place/%commands")
set -f # lines are taken apart at their ends, and nothing else is done to them
IFS="
"

# Sets takes to what the option $2 of the task $1 takes: nothing where it has none like that.
look_up() {
    takes=
    for entry in $commands; do
        case $entry in
            "option $1 $2 "*)
                takes=${entry#"option $1 $2 "}
                takes=${takes%% *}
                ;;
        esac
    done
}

is_task() {
    case $IFS$commands in
        *"${IFS}task $1 "*) return 0 ;;
    esac
    return 1
}

current=-
stage=
takes=flag
for word; do
    if [ "$takes" = flag ]; then
        case $word in
            -*) look_up "$current" "$word" ;;
            *) if is_task "$word"; then current=$word; fi ;;
        esac
        takes=${takes:-flag}
    else # it is what the option before takes
        if [ "$takes" = names ]; then stage=$word; fi
        takes=flag
    fi
done

# Offers the first word of each line, with the rest as what there is to say about it.
offer_lines() {
    for entry in $1; do
        offer "${entry%% *}" "${entry#* }"
    done
}

offer_stages() {
    set +f
    for file in "$project"/hosts/*.yml; do
        name=${file##*/}
        name=${name%.yml}
        case $name in
            all | example) ;;
            *) offer "$given$name" stage ;;
        esac
    done
    set -f
}

offer_hosts() {
    set +f
    set -- "$place"/%hosts.*
    set -f
    for file; do
        names=$(cat "$file" 2>/dev/null)
        for name in $names; do
            offer "$given$name" "host of ${file##*/%hosts.}"
        done
    done
}

offer_releases() {
    files=$place/%releases.$stage
    if [ "$stage" ] && has "$files"; then
        offer_lines "$(cat "$files")"
        return
    fi
    set +f
    set -- "$place"/%releases.*
    set -f
    offer_lines "$(cat "$@" 2>/dev/null)"
}

offer_refs() {
    repository=$(cat "$place/%repository" 2>/dev/null) || return
    set -- --count=500 --sort=-committerdate --format="%(refname:short) %(subject)" refs/heads refs/tags
    offer_lines "$(git -C "$repository" for-each-ref "$@" 2>/dev/null)"
}

# Offers what the lines of a kind say: tasks by their names, or options of the current one after what they take.
offer_commands() {
    for entry in $commands; do
        case $entry in
            "$1"*)
                entry=${entry#"$1"}
                name=${entry%% *}
                entry=${entry#* }
                if [ "$1" != "task " ]; then entry=${entry#* }; fi
                offer "$name" "$entry"
                ;;
        esac
    done
}

given=${typed%"${typed##*,}"} # names before this one, with commas between
case $takes in
    names)
        offer_stages
        offer_hosts
        ;;
    hosts) offer_hosts ;;
    releases) offer_releases ;;
    refs) offer_refs ;;
    roles) for word in app proxy worker scheduler; do offer "$given$word" ""; done ;;
    shells) for word in bash zsh fish; do offer "$word" ""; done ;;
    flag)
        case $typed in
            -*) offer_commands "option $current " ;;
            *) offer_commands "task " ;;
        esac
        ;;
esac
