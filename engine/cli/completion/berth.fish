# fish completion for berth

function __berth_complete
    set -l words (commandline -opc)
    set -l last (commandline -ct)
    set -l program $words[1]
    set -e words[1]
    set -l lines ($program __complete $words "$last" 2>/dev/null)
    test (count $lines) -gt 0; or return
    set -l directive (string sub --start 2 -- $lines[-1])
    set -e lines[-1]
    set -l option (string match --regex -- '^-.*=' "$last")
    for line in $lines
        echo -- "$option$line"
    end
    test (count $lines) -eq 0; or return
    if test "$directive" = 16
        __fish_complete_directories "$last"
    else if test "$directive" = 0
        __fish_complete_path "$last"
    end
end

complete -c berth -e
complete -c berth -f -a '(__berth_complete)'
