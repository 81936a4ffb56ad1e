// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cloudtest

import (
	"net/http"
	"regexp"

	"github.com/aws/smithy-go/encoding/cbor"
)

// operation is where the protocol that CloudWatch is spoken to in names the operation.
var operation = regexp.MustCompile(`^/service/[^/]+/operation/([^/]+)$`)

// SetAlarm makes an alarm of CloudWatch, or sets its state: OK, ALARM or
// INSUFFICIENT_DATA.
func (c *Cloud) SetAlarm(name, state string) {
	a := c.account()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.alarms[name] = state
}

// describeAlarms answers in CBOR, which moto does not speak.
func (a *account) describeAlarms(r *request) answer {
	asked, err := cbor.Decode(r.body)
	in, ok := asked.(cbor.Map)
	if err != nil || !ok {
		return r.fail(http.StatusBadRequest, "SerializationException", "the body is no map")
	}
	names, _ := in["AlarmNames"].(cbor.List)
	list := cbor.List{}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, v := range names {
		name, _ := v.(cbor.String)
		if state, ok := a.alarms[string(name)]; ok {
			list = append(list, cbor.Map{"AlarmName": name, "StateValue": cbor.String(state)})
		}
	}
	return answer{
		status: http.StatusOK, header: http.Header{"Content-Type": {"application/cbor"}, "Smithy-Protocol": {"rpc-v2-cbor"}},
		body: cbor.Encode(cbor.Map{"MetricAlarms": list, "CompositeAlarms": cbor.List{}}),
	}
}
