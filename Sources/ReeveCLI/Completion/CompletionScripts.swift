/// What a shell sources. Each script hands the words to `reeve completion words`, so that what fits is always what this program
/// knows: one argument of lines, the last of them a full stop, since a shell drops empty lines at the end.
enum CompletionScripts {
    static let bash = #"""
        # bash completion for reeve: source <(reeve completion bash)
        _reeve() {
          local program=$1 line word glued='' words=()
          COMPREPLY=()
          # bash cuts words at = as well; put them together again.
          for word in "${COMP_WORDS[@]:1:COMP_CWORD}"; do
            if [[ $word == = && ${#words[@]} -gt 0 ]]; then
              words[-1]+='='; glued=1
            elif [[ $glued ]]; then
              words[-1]+=$word; glued=''
            else
              words+=("$word")
            fi
          done
          while IFS= read -r line; do
            if [[ $line == :files ]]; then
              compopt -o default 2>/dev/null
              continue
            fi
            line=${line%%$'\t'*}
            [[ ${words[-1]} == --*=* ]] && line=${line#*=}
            COMPREPLY+=("$line")
          done < <("$program" completion words -- "$(printf '%s\n' "${words[@]}" .)" 2>/dev/null)
        }
        complete -F _reeve reeve

        """#

    static let zsh = #"""
        #compdef reeve
        # zsh completion for reeve: source <(reeve completion zsh), or save it as _reeve in a folder of $fpath
        _reeve() {
          local line
          local -a lines described
          lines=("${(@f)$("${words[1]}" completion words -- "$(printf '%s\n' "${(@)words[2,CURRENT]}" .)" 2>/dev/null)}")
          for line in $lines; do
            if [[ $line == :files ]]; then
              _files
            else
              described+=("${${line%%$'\t'*}//:/\\:}:${line#*$'\t'}")
            fi
          done
          (( $#described )) && _describe reeve described
        }
        if [[ ${funcstack[1]-} == _reeve ]]; then _reeve "$@"; else compdef _reeve reeve; fi

        """#

    static let fish = #"""
        # fish completion for reeve: reeve completion fish > ~/.config/fish/completions/reeve.fish
        function __reeve_complete
            set -l words (commandline -opc) (commandline -ct)
            for line in (command $words[1] completion words -- (printf '%s\n' $words[2..-1] . | string collect) 2>/dev/null)
                if test "$line" = ':files'
                    __fish_complete_path (commandline -ct)
                else
                    echo $line
                end
            end
        end
        complete -c reeve -f -a '(__reeve_complete)'

        """#
}
