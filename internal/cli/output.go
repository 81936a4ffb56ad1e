// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cli

import (
	"bytes"
	"encoding/json"

	"github.com/penstock-io/terraform-provider-penstock/internal/present"
	"github.com/penstock-io/terraform-provider-penstock/internal/present/shape"
)

// printJSON prints v as indented JSON of its shape, in which nothing acts on a terminal.
func (f *factory) printJSON(v any) error {
	doc, err := shape.Marshal(v)
	if err != nil {
		return err
	}
	var out bytes.Buffer
	if err := json.Indent(&out, present.JSON(doc), "", "  "); err != nil {
		return err
	}
	_, err = f.Out.Write(append(out.Bytes(), '\n'))
	return err
}

// printJSONLine prints v as printJSON does, on one line of many.
func (f *factory) printJSONLine(v any) error {
	doc, err := shape.Marshal(v)
	if err != nil {
		return err
	}
	_, err = f.Out.Write(append(present.JSON(doc), '\n'))
	return err
}
