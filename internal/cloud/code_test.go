// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cloud

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// A profile with an MFA device is asked for where there is a terminal, and else said clearly.
func TestCode(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	if code, err := codeFrom(strings.NewReader("123456\n"), &out, true); code != "123456" || err != nil || out.String() != "MFA code: " {
		t.Errorf("got %q, %v after %q", code, err, out.String())
	}
	for name, tt := range map[string]struct {
		in       string
		terminal bool
	}{"no terminal": {"123456\n", false}, "nothing typed": {"\n", true}, "the end": {"", true}} {
		if _, err := codeFrom(strings.NewReader(tt.in), &out, tt.terminal); pipeline.CodeOf(err) != pipeline.CodeNotAllowed {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The error gets through the SDK as it is.
func TestProfileWithMFA(t *testing.T) {
	dir := t.TempDir()
	shared := filepath.Join(dir, "config")
	if err := os.WriteFile(shared, []byte("[profile base]\naws_access_key_id = AKIAIOSFODNN7EXAMPLE\naws_secret_access_key = secret\n"+
		"[profile strong]\nrole_arn = arn:aws:iam::123456789012:role/x\nsource_profile = base\nmfa_serial = arn:aws:iam::123456789012:mfa/ada\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE"} {
		t.Setenv(name, "")
		if err := os.Unsetenv(name); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("AWS_CONFIG_FILE", shared)
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", filepath.Join(dir, "none"))
	_, err := Load(t.Context(), Options{Region: "eu-west-1", Profile: "strong", MaxAttempts: 1})
	if pipeline.CodeOf(err) != pipeline.CodeNotAllowed || !strings.Contains(err.Error(), "MFA device") {
		t.Errorf("got %v", err)
	}
}
