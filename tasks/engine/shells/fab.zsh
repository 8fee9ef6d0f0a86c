# Completion of fab for zsh: printed by fab completion --shell zsh.
_fabrelease() {
    local line
    local -a found
    for line in ${(f)"$(sh -c 'CANDIDATES' fab "$words[CURRENT]" "${(@)words[1,CURRENT-1]}")"}; do
        found+=("${${line%% *}//:/\\:}:${line#* }")
    done
    _describe fab found
}
(( $+functions[compdef] )) || { autoload -Uz compinit && compinit }
compdef _fabrelease fab
