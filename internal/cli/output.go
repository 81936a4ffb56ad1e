// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cli

import (
	"bytes"
	"encoding/json"

	"github.com/penstock-io/terraform-provider-penstock/internal/present"
)

// printJSON prints v as indented JSON, in which nothing acts on a terminal.
func (f *factory) printJSON(v any) error {
	var doc bytes.Buffer
	enc := json.NewEncoder(&doc)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return err
	}
	_, err := f.Out.Write(present.JSON(doc.Bytes()))
	return err
}

// printJSONLine prints v as JSON on one line, one of many, in which nothing acts on a terminal.
func (f *factory) printJSONLine(v any) error {
	doc, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = f.Out.Write(append(present.JSON(doc), '\n'))
	return err
}
