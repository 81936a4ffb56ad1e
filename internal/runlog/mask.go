// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package runlog

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/penstock-io/terraform-provider-penstock/internal/present"
)

// special are the characters with a meaning in a pattern of sed.
var special = strings.NewReplacer(`\`, `\\`, `/`, `\/`, `.`, `\.`, `*`, `\*`, `[`, `\[`, `^`, `\^`, `$`, `\$`)

// MaskShell returns shell lines that define the function masked, which passes on its input,
// line by line, without texts: for a machine whose output others keep. None of the texts
// holds a line break. They are written to a file, whose path is a word of the shell. The
// longest go first, so that one that is part of another leaves nothing of that.
func MaskShell(texts []string, file string) string {
	if len(texts) == 0 {
		return "masked() { cat; }\n"
	}
	texts = slices.Clone(texts)
	slices.SortFunc(texts, func(a, b string) int { return cmp.Compare(len(b), len(a)) })
	var script strings.Builder
	for _, text := range texts {
		fmt.Fprintf(&script, "s/%s/***/g\n", special.Replace(text))
	}
	return fmt.Sprintf(`printf '%%s\n' %[1]s > %[2]s
unbuffered=
if sed -u -e p </dev/null 2>/dev/null; then unbuffered=-u; fi
masked() { LC_ALL=C sed $unbuffered -f %[2]s; }
`, present.Shell(script.String()), file)
}
