# bash completion for berth

_berth() {
    local rest=${COMP_LINE:0:COMP_POINT} words=() count=0 word begun cur prefix out directive line width=0
    COMPREPLY=()
    # bash cuts words at = and : too; pieces that stand together in the line belong together.
    for word in "${COMP_WORDS[@]:0:COMP_CWORD+1}"; do
        begun=${rest#"${rest%%[![:space:]]*}"}
        [[ $begun == "$word"* ]] || word=$begun
        if [[ $begun != "$rest" || $count == 0 ]]; then
            words[count++]=$word
        else
            words[count-1]+=$word
        fi
        rest=${begun#"$word"}
    done
    cur=${words[count-1]}
    out=$("${words[0]/#\~/$HOME}" __complete "${words[@]:1}" 2>/dev/null) || return 0
    directive=${out##*:}
    out=${out%:*}
    [[ $cur != -*=* ]] || cur=${cur#*=}
    # What comes before the last of those marks is not in the word that is replaced.
    prefix=
    [[ $COMP_WORDBREAKS != *:* || $cur != *:* ]] || prefix=${cur%"${cur##*:}"}

    local offers=() tab=$'\t'
    while IFS= read -r line; do
        [[ -n $line && ${line%%"$tab"*} == "$cur"* ]] || continue
        offers+=("${line#"$prefix"}")
        word=${line%%"$tab"*}
        ((${#word} <= width)) || width=${#word}
    done <<<"$out"
    for line in "${offers[@]}"; do
        # Descriptions are for a list on the screen, not for what is put into the line.
        if [[ $COMP_TYPE == 63 && ${#offers[@]} -gt 1 && $line == *"$tab"* ]]; then
            printf -v line '%-*s  (%s)' "$width" "${line%%"$tab"*}" "${line#*"$tab"}"
            COMPREPLY+=("${line:0:${COLUMNS:-80}}")
        else
            COMPREPLY+=("${line%%"$tab"*}")
        fi
    done
    if ((${#COMPREPLY[@]} == 0 && (directive & 4) == 0)); then
        local kind=-f
        ((directive & 16)) && kind=-d
        while IFS= read -r line; do
            COMPREPLY+=("$line")
        done < <(compgen "$kind" -- "$cur")
        compopt -o filenames 2>/dev/null
    fi
    return 0
}

complete -o nosort -F _berth berth 2>/dev/null || complete -F _berth berth
