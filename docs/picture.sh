#!/usr/bin/env bash
# Makes a picture (SVG) of a command's real output.
#
#   docs/picture.sh FILE          README.md's, of the demo: runs it
#   docs/picture.sh - COMMAND     of the text on standard input, to standard output; COMMAND is the
#                                 line that is shown above it
#
# What a line begins with colours it.
set -euo pipefail
if [[ ${1:--} != - ]]; then
    cd "$(dirname "$0")/.."
    netns-scripts/demo.sh --plain |
        sed -n '/^hello 1000/,/hellos every 50/ { s/.*hellos every.*//; p }; /^curl/,/^$/p; $p' |
        docs/picture.sh - netns-scripts/demo.sh >"$1.new"
    exec mv "$1.new" "$1"
fi
awk -v command="${2:-}" '
    function escape(text) {
        gsub(/\033\[[0-9;?]*[a-zA-Z]/, "", text)
        gsub(/&/, "\\&amp;", text); gsub(/</, "\\&lt;", text); gsub(/>/, "\\&gt;", text)
        return text
    }
    { sub(/ +$/, ""); lines[++count] = $0; if (length($0) > width) width = length($0) }
    END {
        w = 24 + width * 8.43; h = 58 + count * 17
        printf "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" viewBox=\"0 0 %d %d\">\n", w, h, w, h
        printf "<style>text{font:14px ui-monospace,Menlo,Consolas,\"DejaVu Sans Mono\",monospace;"
        printf "fill:#d8dee9;white-space:pre}.ok{fill:#a3be8c}.bad{fill:#e06c75}.head{fill:#88c0d0}"
        printf ".prompt{fill:#ebcb8b}</style>\n"
        printf "<rect width=\"%d\" height=\"%d\" rx=\"8\" fill=\"#20242c\"/>\n", w, h
        printf "<text class=\"prompt\" x=\"12\" y=\"26\">$ %s</text>\n", escape(command)
        for (i = 1; i <= count; i++) {
            class = ""
            if (lines[i] ~ /^(ok |all checks passed)/) class = " class=\"ok\""
            else if (lines[i] ~ /^(FAILED|failed|not ok)/) class = " class=\"bad\""
            else if (lines[i] ~ /^(phase|takeover|hello) /) class = " class=\"head\""
            if (lines[i] != "")
                printf "<text%s x=\"12\" y=\"%d\" xml:space=\"preserve\">%s</text>\n", class, 34 + i * 17, escape(lines[i])
        }
        print "</svg>"
    }'
