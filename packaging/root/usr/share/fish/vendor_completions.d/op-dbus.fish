# fish completion for op-dbus: the program knows what can follow; where it does not, a path can.
function __op_dbus_candidates
    set -l words (commandline --tokenize --cut-at-cursor --current-process)
    set -l found ($words[1] complete -- $words[2..] (commandline --current-token --cut-at-cursor) 2>/dev/null)
    if test (count $found) -gt 0
        printf '%s\n' $found
    else
        __fish_complete_path (commandline --current-token --cut-at-cursor)
    end
end
complete --command op-dbus --no-files --arguments '(__op_dbus_candidates)'
