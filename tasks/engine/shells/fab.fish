# Completion of fab for fish: printed by fab completion --shell fish.
function __fabrelease
    set -l typed (commandline -ct)
    sh -c 'CANDIDATES' fab "$typed" (commandline -opc) | string replace " " \t
end
complete -c fab -f -k -a "(__fabrelease)"
