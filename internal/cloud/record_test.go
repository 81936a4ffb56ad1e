// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cloud

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// TestRecord asks a server for answers and errors, and looks at what the log of requests
// has of them: their shapes, and no values.
func TestRecord(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.Header.Get("X-Amz-Target") {
		case "AmazonSSM.GetParameter":
			w.Header().Set("Content-Type", "application/x-amz-json-1.1")
			_, _ = io.WriteString(w, `{"Parameter": {"Name": "/a", "Value": "secret", "LastModifiedDate": 1.7e9}}`)
		case "AmazonSSM.PutParameter":
			w.Header().Set("Content-Type", "application/x-amz-json-1.1")
			w.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(w, `{"__type": "ParameterAlreadyExists", "message": "secret"}`)
		default:
			_, _ = io.WriteString(w, `<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult><Account>100000000001</Account></GetCallerIdentityResult></GetCallerIdentityResponse>`)
		}
	}))
	defer server.Close()
	file := filepath.Join(t.TempDir(), "log")
	for name, value := range map[string]string{
		"AWS_ENDPOINT_URL": server.URL, "AWS_REGION": "eu-west-1", "AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": "secret",
		"AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull, RecordVariable: file,
	} {
		t.Setenv(name, value)
	}
	c, err := Load(t.Context(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	client := ssm.NewFromConfig(c.Config)
	if _, err := client.GetParameter(t.Context(), &ssm.GetParameterInput{Name: aws.String("/a")}); err != nil {
		t.Fatal(err)
	}
	_, err = client.PutParameter(t.Context(), &ssm.PutParameterInput{Name: aws.String("/a"), Value: aws.String("secret"), Type: ssmtypes.ParameterTypeString})
	if err == nil {
		t.Error("an error is none with a log")
	}
	signer := s3.NewPresignClient(s3.NewFromConfig(c.Config))
	if _, err := signer.PresignGetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("b"), Key: aws.String("k")}); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), "secret") {
		t.Errorf("the log has a value:\n%s", text)
	}
	want := []Record{
		{Service: "STS", Operation: "GetCallerIdentity", Attempts: 1, Members: []string{"Account"}},
		{Service: "SSM", Operation: "GetParameter", Attempts: 1, Members: []string{"Parameter.LastModifiedDate", "Parameter.Name", "Parameter.Value"}},
		{Service: "SSM", Operation: "PutParameter", Attempts: 1, Error: "ParameterAlreadyExists"},
	}
	var got []Record
	for d := json.NewDecoder(bytes.NewReader(text)); d.More(); {
		var r Record
		if err := d.Decode(&r); err != nil {
			t.Fatal(err)
		}
		got = append(got, r)
	}
	if len(got) != len(want) {
		t.Fatalf("the log has %d records, want %d:\n%s", len(got), len(want), text)
	}
	for i, w := range want {
		g := got[i]
		if g.Service != w.Service || g.Operation != w.Operation || g.Attempts != w.Attempts || g.Error != w.Error || !slices.Equal(g.Members, w.Members) {
			t.Errorf("record %d is %+v, want %+v", i, g, w)
		}
		if g.PID != os.Getpid() || g.Region != "eu-west-1" || g.Start.IsZero() || g.Seconds <= 0 {
			t.Errorf("record %d does not say who asked where and when: %+v", i, g)
		}
	}
}

// TestRecordNowhere has a log that can't be written.
func TestRecordNowhere(t *testing.T) {
	_, err := recordTo(t.TempDir())
	if pipeline.CodeOf(err) != pipeline.CodeInvalid {
		t.Errorf("a directory as the log: %v", err)
	}
	if record, err := recordTo(""); record != nil || err != nil {
		t.Errorf("no log at all: %v", err)
	}
}
