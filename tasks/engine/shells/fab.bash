# Completion of fab for bash: printed by fab completion --shell bash.
_fabrelease() {
    local candidate
    COMPREPLY=()
    while read -r candidate _; do
        COMPREPLY+=("$candidate")
    done < <(sh -c 'CANDIDATES' fab "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[@]:0:COMP_CWORD}")
}
complete -F _fabrelease fab
