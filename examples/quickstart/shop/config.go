// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"regexp"
)

// Config is what can be set without a new program.
type Config struct {
	Name        string `json:"name"`
	Headline    string `json:"headline"`
	Currency    string `json:"currency"`
	MaxQuantity int    `json:"max_quantity"` // of one order
}

func loadConfig(path string) (Config, error) {
	var c Config
	data, err := os.ReadFile(path)
	if err != nil {
		return c, fmt.Errorf("read settings: %w (set SHOP_CONFIG to a file such as config/shop.json)", err)
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&c); err != nil {
		return c, fmt.Errorf("read settings: %s: %w", path, err)
	}
	switch {
	case c.Name == "":
		return c, fmt.Errorf("read settings: %s: name is empty", path)
	case !regexp.MustCompile(`^[A-Z]{3}$`).MatchString(c.Currency):
		return c, fmt.Errorf("read settings: %s: currency %q is not a code of three capitals", path, c.Currency)
	case c.MaxQuantity < 1:
		return c, fmt.Errorf("read settings: %s: max_quantity %d is less than 1", path, c.MaxQuantity)
	}
	return c, nil
}
