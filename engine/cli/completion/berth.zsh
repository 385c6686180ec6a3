#compdef berth
# zsh completion for berth

_berth() {
    local directive line
    local -a lines offers
    lines=("${(@f)$("${(Q)words[1]/#\~/$HOME}" __complete "${(@Q)words[2,CURRENT-1]}" "$PREFIX" 2>/dev/null)}")
    directive=${lines[-1]#:}
    lines[-1]=()
    for line in "${lines[@]}"; do
        # A colon parts an offer from its description.
        line=${line//:/\\:}
        offers+=("${line/$'\t'/:}")
    done
    [[ $PREFIX != -*=* ]] || compset -P '-*='
    if (( ${#offers} )); then
        _describe -V 'berth' offers
    elif (( directive & 16 )); then
        _files -/
    elif (( (directive & 4) == 0 )); then
        _files
    fi
}

# Read as a script, or found by its name on the fpath.
if [[ $funcstack[1] == _berth ]]; then
    _berth
else
    compdef _berth berth
fi
