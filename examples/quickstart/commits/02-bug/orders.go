// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"encoding/json"
	"net/http"
	"sync"
	"time"
)

// maxOrderBody is the size in bytes of the largest request that is read; an order
// has less than a hundred.
const maxOrderBody = 16 << 10

// listAge is how old the list may be: reading the file for each request is slow
// once there are many orders.
const listAge = 10 * time.Second

// orderDesk takes orders and lists them.
type orderDesk struct {
	store  *Store
	config Config

	mu     sync.Mutex
	listed []Order
	at     time.Time
}

func (d *orderDesk) list(w http.ResponseWriter, r *http.Request) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if time.Since(d.at) > listAge {
		orders, err := d.store.Orders()
		if err != nil {
			fail(w, r, err)
			return
		}
		d.listed, d.at = orders, time.Now()
	}
	reply(w, http.StatusOK, d.listed)
}

func (d *orderDesk) take(w http.ResponseWriter, r *http.Request) {
	var wish struct {
		Product  string `json:"product"`
		Quantity int    `json:"quantity"`
	}
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxOrderBody)).Decode(&wish); err != nil {
		refuse(w, http.StatusBadRequest, "the order is not valid JSON: %v", err)
		return
	}
	if wish.Quantity < 1 || wish.Quantity > d.config.MaxQuantity {
		refuse(w, http.StatusUnprocessableEntity, "quantity %d is not between 1 and %d", wish.Quantity, d.config.MaxQuantity)
		return
	}
	order, err := d.store.Place(wish.Product, wish.Quantity, d.config.Currency)
	if err != nil {
		fail(w, r, err)
		return
	}
	reply(w, http.StatusCreated, order)
}
