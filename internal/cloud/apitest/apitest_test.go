// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package apitest

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/aws/smithy-go/encoding/cbor"
)

// Every table can be read, and every pattern and shape in it is one.
func TestModels(t *testing.T) {
	t.Parallel()
	files, err := models.ReadDir("testdata")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, f := range files {
		service := strings.TrimSuffix(f.Name(), ".json")
		m, err := load(service)
		if err != nil || m.Package != "botocore" || m.Version == "" || len(m.Operations) == 0 {
			t.Fatalf("%s: %v, %s %s", service, err, m.Package, m.Version)
		}
		for name, o := range m.Operations {
			if o.Input != "" && m.Shapes[o.Input] == nil {
				t.Errorf("%s: %s has no shape %s", service, name, o.Input)
			}
		}
		j := judge{model: m}
		for name, s := range m.Shapes {
			if s.Pattern != "" {
				fits(s.Pattern, "")
			}
			for field, of := range s.Members {
				if inner := m.shape(of.Shape); inner.Type == "string" || inner.Type == "structure" || inner.Type == "list" || inner.Type == "map" {
					continue
				}
				j.value(of.Shape, text("1"), name+"."+field) // panics at a type that is not known
			}
		}
	}
	if _, err := load("nowhere"); err == nil {
		t.Error("a service without a model is taken")
	}
}

// A request of each protocol passes as clients send it, and what is wrong with one is said.
func TestCheck(t *testing.T) {
	t.Parallel()
	const run = "Action=RunInstances&Version=2016-11-15&MinCount=1&MaxCount=1"
	const put = `{"ScheduleExpression": "at(2026-01-01T00:00:00)", "FlexibleTimeWindow": {"Mode": "OFF"}, "Target": {"Arn": "a", "RoleArn": "arn:aws:iam::123456789012:role/r"}`
	cborBody := func(m cbor.Map) string { return string(cbor.Encode(m)) }
	for name, tt := range map[string]struct {
		service, action, method, url, body string
		wants                              []string // kinds and paths of what is wrong; nil for nothing
	}{
		"ec2":                              {"ec2", "RunInstances", "", "", run + "&TagSpecification.1.ResourceType=instance&TagSpecification.1.Tag.1.Key=a&TagSpecification.1.Tag.1.Value=b&BlockDeviceMapping.1.Ebs.Encrypted=true&NetworkInterface.1.SecurityGroupId.1=sg-1", nil},
		"ec2, without what it must have":   {"ec2", "RunInstances", "", "", "Action=RunInstances&Version=2016-11-15&MinCount=1", []string{"1 maxCount"}},
		"ec2, with what nobody knows":      {"ec2", "RunInstances", "", "", run + "&Colour=red", []string{"2 colour"}},
		"ec2, within a list":               {"ec2", "RunInstances", "", "", run + "&BlockDeviceMapping.1.Ebs.Colour=red", []string{"2 blockDeviceMappings.1.member.ebs.colour"}},
		"ec2, no number":                   {"ec2", "RunInstances", "", "", strings.Replace(run, "MaxCount=1", "MaxCount=many", 1), []string{"0 maxCount"}},
		"ec2, no truth":                    {"ec2", "RunInstances", "", "", run + "&EbsOptimized=perhaps", []string{"0 ebsOptimized"}},
		"ec2, none of the values":          {"ec2", "RunInstances", "", "", run + "&InstanceInitiatedShutdownBehavior=burn", []string{"0 instanceInitiatedShutdownBehavior"}},
		"ec2, a list that begins at two":   {"ec2", "RunInstances", "", "", run + "&SecurityGroupId.2=sg-1", []string{"0 securityGroupIds"}},
		"query":                            {"autoscaling", "CreateAutoScalingGroup", "", "", "Action=x&Version=2011-01-01&AutoScalingGroupName=a&MinSize=1&MaxSize=2&Tags.member.1.Key=k&TargetGroupARNs.member.1=a", nil},
		"query, with an empty list":        {"autoscaling", "CreateAutoScalingGroup", "", "", "Action=x&Version=2011-01-01&AutoScalingGroupName=a&MinSize=1&MaxSize=2&Tags=", nil},
		"query, too long":                  {"autoscaling", "CreateAutoScalingGroup", "", "", "Action=x&Version=2011-01-01&AutoScalingGroupName=" + strings.Repeat("a", 256) + "&MinSize=1&MaxSize=2", []string{"0 autoScalingGroupName"}},
		"query, a list without its member": {"autoscaling", "CreateAutoScalingGroup", "", "", "Action=x&Version=2011-01-01&AutoScalingGroupName=a&MinSize=1&MaxSize=2&Tags.1.Key=k", []string{"0 tags"}},
		"query, with a map":                {"sns", "Publish", "", "", "Action=Publish&Version=2010-03-31&Message=m&MessageAttributes.entry.1.Name=a&MessageAttributes.entry.1.Value.DataType=String", nil},
		"query, with a wrong map":          {"sns", "Publish", "", "", "Action=Publish&Version=2010-03-31&Message=m&MessageAttributes.entry.1.Name=a&MessageAttributes.entry.1.Value.StringValue=s", []string{"1 messageAttributes.a.member.dataType"}},
		"json":                             {"ssm", "SendCommand", "", "", `{"DocumentName": "AWS-RunShellScript", "InstanceIds": ["i-0123456789abcdef0"], "Parameters": {"commands": ["true"]}, "TimeoutSeconds": 30}`, nil},
		"json, of null":                    {"ssm", "SendCommand", "", "", `{"DocumentName": "AWS-RunShellScript", "Comment": null}`, nil},
		"json, out of range, in the wrong form, too long": {"ssm", "SendCommand", "", "", `{"DocumentName": "AWS-RunShellScript", "InstanceIds": ["web"], "TimeoutSeconds": 29, "Comment": "` + strings.Repeat("é", 101) + `"}`,
			[]string{"0 comment", "0 instanceIds.1.member", "0 timeoutSeconds"}},
		"json, of other types":    {"ssm", "SendCommand", "", "", `{"DocumentName": 1, "InstanceIds": "i", "Parameters": [], "TimeoutSeconds": "30"}`, []string{"0 documentName", "0 instanceIds", "0 parameters", "0 timeoutSeconds"}},
		"json, with a union":      {"dynamodb", "PutItem", "", "", `{"TableName": "t1", "Item": {"id": {"S": "a"}, "n": {"L": [{"N": "1"}]}}}`, nil},
		"cbor":                    {"monitoring", "DescribeAlarms", "", "", cborBody(cbor.Map{"AlarmNames": cbor.List{cbor.String("a")}, "MaxRecords": cbor.Uint(1)}), nil},
		"cbor, out of range":      {"monitoring", "DescribeAlarms", "", "", cborBody(cbor.Map{"AlarmNames": cbor.List{cbor.String("")}, "MaxRecords": cbor.Uint(101)}), []string{"0 alarmNames.1.member", "0 maxRecords"}},
		"rest-json":               {"scheduler", "", "POST", "/schedules/a", put + "}", nil},
		"rest-json, in the path":  {"scheduler", "", "POST", "/schedules/a!", put + "}", []string{"0 name"}},
		"rest-json, in the body":  {"scheduler", "", "PUT", "/schedules/a", put + `, "Name": "b", "State": "ON"}`, []string{"2 body.Name", "0 state"}},
		"rest-json, in the query": {"scheduler", "", "DELETE", "/schedules/a?clientToken=t&colour=red", "", []string{"2 colour"}},
		"rest-xml":                {"s3", "", "PUT", "/b/a/key?x-id=PutObject", "anything", nil},
		"rest-xml, in the query":  {"s3", "", "GET", "/b?list-type=2&max-keys=many", "", []string{"0 maxKeys"}},
		"rest-xml, in the body": {"s3", "", "PUT", "/b?lifecycle", `<LifecycleConfiguration><Rule><Status>Enabled</Status><Colour>red</Colour></Rule><Rule><ID>b</ID></Rule></LifecycleConfiguration>`,
			[]string{"2 lifecycleConfiguration.rules.1.member.colour", "1 lifecycleConfiguration.rules.2.member.status"}},
		"rest-xml, a part":            {"s3", "", "PUT", "/b/k?partNumber=1&uploadId=u", "anything", nil},
		"rest-xml, several of a body": {"s3", "", "POST", "/b?delete", `<Delete><Object><Key>a</Key></Object><Object><Key>b</Key></Object><Quiet>true</Quiet></Delete>`, nil},
	} {
		method, url := "POST", "/"
		if tt.method != "" {
			method, url = tt.method, tt.url
		}
		err := Check(httptest.NewRequest(method, url, nil), []byte(tt.body), tt.service, tt.action)
		var invalid *Invalid
		if err != nil && !errors.As(err, &invalid) {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var got []string
		if invalid != nil {
			for _, f := range invalid.Faults {
				got = append(got, string(rune('0'+f.Kind))+" "+f.Path)
			}
		}
		if strings.Join(got, ", ") != strings.Join(tt.wants, ", ") {
			t.Errorf("%s: %v, %v, want %v", name, got, err, tt.wants)
		}
	}
}

// What is no request of a service at all is another error than one of a wrong form.
func TestNoRequest(t *testing.T) {
	t.Parallel()
	var invalid *Invalid
	for name, err := range map[string]error{
		"a service":       Check(httptest.NewRequest(http.MethodPost, "/", nil), nil, "nowhere", "Do"),
		"an operation":    Check(httptest.NewRequest(http.MethodPost, "/", nil), nil, "ssm", "Do"),
		"a path":          Check(httptest.NewRequest(http.MethodPatch, "/schedules/a", nil), nil, "scheduler", ""),
		"another API":     Check(httptest.NewRequest(http.MethodPost, "/", nil), []byte("Action=DescribeVpcs&Version=2012-01-01"), "ec2", "DescribeVpcs"),
		"broken JSON":     Check(httptest.NewRequest(http.MethodPost, "/", nil), []byte("{"), "ssm", "SendCommand"),
		"broken XML":      Check(httptest.NewRequest(http.MethodPost, "/b?delete", nil), []byte("<Delete>"), "s3", ""),
		"a target":        CheckJSON("ec2", "DoEverything", []byte("{}")),
		"a target's JSON": CheckJSON("ec2", "TerminateInstances", []byte("[")),
	} {
		if err == nil || errors.As(err, &invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := CheckJSON("ec2", "TerminateInstances", []byte(`{"InstanceIds": ["i-1"]}`)); err != nil {
		t.Error(err)
	}
	if err := CheckJSON("ec2", "TerminateInstances", []byte(`{"instanceIds": ["i-1"]}`)); !errors.As(err, &invalid) || len(invalid.Faults) != 2 {
		t.Error(err)
	}
	if got := (&Invalid{Faults: []Fault{{Path: "a", Value: "x", Wants: "W"}, {Path: "b", Value: "null", Wants: "V", Kind: Missing}}}).Error(); got !=
		"2 validation errors detected: Value 'x' at 'a' failed to satisfy constraint: W; Value null at 'b' failed to satisfy constraint: V" {
		t.Error(got)
	}
}
