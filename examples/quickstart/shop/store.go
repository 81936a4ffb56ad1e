// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"
)

// Product is a thing for sale.
type Product struct {
	ID    string `json:"id"`
	Name  string `json:"name"`
	Price int    `json:"price"` // in cents
}

// Order is what a customer asked for.
type Order struct {
	ID       string    `json:"id"`
	Product  string    `json:"product"`
	Quantity int       `json:"quantity"`
	Total    int       `json:"total"` // in cents
	Currency string    `json:"currency"`
	Placed   time.Time `json:"placed"`
}

// errNotFound says that the named thing does not exist.
var errNotFound = errors.New("not found")

// Store keeps products and orders in a directory that several instances may share.
type Store struct{ Dir string }

func (s *Store) path(collection string) string { return filepath.Join(s.Dir, collection+".jsonl") }

// Products lists the products, the cheapest first.
func (s *Store) Products() ([]Product, error) {
	products, err := readLines[Product](s.path("products"))
	slices.SortStableFunc(products, func(a, b Product) int { return a.Price - b.Price })
	return products, err
}

// Product returns one product, or errNotFound.
func (s *Store) Product(id string) (Product, error) {
	products, err := s.Products()
	if err != nil {
		return Product{}, err
	}
	i := slices.IndexFunc(products, func(p Product) bool { return p.ID == id })
	if i < 0 {
		return Product{}, fmt.Errorf("product %q: %w", id, errNotFound)
	}
	return products[i], nil
}

// Orders lists the orders, the oldest first.
func (s *Store) Orders() ([]Order, error) { return readLines[Order](s.path("orders")) }

// Place takes an order. It is on disk when Place returns.
func (s *Store) Place(product string, quantity int, currency string) (Order, error) {
	p, err := s.Product(product)
	if err != nil {
		return Order{}, err
	}
	var id [6]byte
	if _, err := rand.Read(id[:]); err != nil {
		return Order{}, err
	}
	order := Order{
		ID: "o-" + hex.EncodeToString(id[:]), Product: p.ID, Quantity: quantity,
		Total: p.Price * quantity, Currency: currency, Placed: time.Now().UTC().Truncate(time.Millisecond),
	}
	unlock, err := lock(s.Dir)
	if err != nil {
		return Order{}, err
	}
	defer unlock()
	return order, appendLine(s.path("orders"), order)
}
