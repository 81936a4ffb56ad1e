// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cloudtest

import (
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strconv"

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
	a.alarm(name)["StateValue"] = cbor.String(state)
}

// alarm returns an alarm, which it makes where there is none; the caller holds the account's
// lock.
func (a *account) alarm(name string) cbor.Map {
	if a.alarms[name] == nil {
		a.alarms[name] = cbor.Map{
			"AlarmName": cbor.String(name), "StateValue": cbor.String("INSUFFICIENT_DATA"), "AlarmArn": cbor.String(alarmARN(Region, a.cloud.ID, name)),
		}
	}
	return a.alarms[name]
}

func alarmARN(region, account, name string) string {
	return fmt.Sprintf("arn:aws:cloudwatch:%s:%s:alarm:%s", region, account, name)
}

// watched answers CloudWatch's requests about alarms in CBOR, which moto does not speak.
func (a *account) watched(r *request) answer {
	in, err := alarmsAsked(r)
	if err != nil {
		return r.fail(http.StatusBadRequest, "SerializationException", err.Error())
	}
	name, _ := in["AlarmName"].(cbor.String)
	a.mu.Lock()
	defer a.mu.Unlock()
	switch r.action {
	case "DescribeAlarms":
		return a.describeAlarms(in)
	case "PutMetricAlarm": // replaces all of it but its state and its tags
		_, there := a.alarms[string(name)]
		had := a.alarm(string(name))
		next := maps.Clone(in)
		for _, k := range []string{"AlarmName", "AlarmArn", "StateValue"} {
			next[k] = had[k]
		}
		delete(next, "Tags")
		a.alarms[string(name)] = next
		if tags, ok := in["Tags"].(cbor.List); ok && !there {
			a.alarmTags[string(name)] = tags
		}
		return packed(cbor.Map{})
	case "ListTagsForResource":
		arn, _ := in["ResourceARN"].(cbor.String)
		for name, one := range a.alarms {
			if one["AlarmArn"] == arn {
				return packed(cbor.Map{"Tags": append(cbor.List{}, a.alarmTags[name]...)})
			}
		}
		return r.fail(http.StatusNotFound, "ResourceNotFoundException", "there is no "+string(arn))
	}
	return r.fail(http.StatusBadRequest, "UnsupportedOperation", "the simulator can't do "+r.action)
}

func alarmsAsked(r *request) (cbor.Map, error) {
	asked, err := cbor.Decode(r.body)
	if err != nil {
		return nil, err
	}
	in, ok := asked.(cbor.Map)
	if !ok {
		return nil, fmt.Errorf("the body is no map")
	}
	return in, nil
}

// describeAlarms returns a page of the alarms that are named, or of all.
func (a *account) describeAlarms(in cbor.Map) answer {
	asked, named := in["AlarmNames"].(cbor.List)
	most := 50
	if n, ok := in["MaxRecords"].(cbor.Uint); ok {
		most = int(n)
	}
	from := 0
	if token, ok := in["NextToken"].(cbor.String); ok {
		from, _ = strconv.Atoi(string(token))
	}
	var names []string
	for _, name := range slices.Sorted(maps.Keys(a.alarms)) {
		if !named || slices.Contains(asked, cbor.Value(cbor.String(name))) {
			names = append(names, name)
		}
	}
	out := cbor.Map{"CompositeAlarms": cbor.List{}}
	found := cbor.List{}
	for _, name := range names[min(from, len(names)):min(from+most, len(names))] {
		found = append(found, a.alarms[name])
	}
	if from+most < len(names) {
		out["NextToken"] = cbor.String(strconv.Itoa(from + most))
	}
	out["MetricAlarms"] = found
	return packed(out)
}

func packed(m cbor.Map) answer {
	return answer{
		status: http.StatusOK, header: http.Header{"Content-Type": {"application/cbor"}, "Smithy-Protocol": {"rpc-v2-cbor"}}, body: cbor.Encode(m),
	}
}
