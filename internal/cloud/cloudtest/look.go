// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cloudtest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// lookRole is the role of the function of the stack that looks whether there is anything to
// apply.
const lookRole = "LookRole"

// Look calls that function at a time, as its schedule does. It runs in the simulator's Python,
// with AWS's own library. It returns what the function prints.
func (c *Cloud) Look(at time.Time) string {
	c.t.Helper()
	properties := c.Stack().Properties("LookFunction")
	code, _ := properties["Code"].(map[string]any)["ZipFile"].(string)
	dir := c.t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "index.py"), []byte(code), 0o600); err != nil {
		c.t.Fatal(err)
	}
	call := fmt.Sprintf("import time; time.time = lambda: %d\nimport index; index.handler({'source': 'aws.events'}, None)", at.Unix())
	cmd := exec.CommandContext(c.t.Context(), filepath.Join(filepath.Dir(os.Getenv("MOTO_SERVER")), "python3"), "-c", call)
	cmd.Dir = dir
	cmd.Env = append(c.EnvironAs(lookRole), "AWS_DEFAULT_REGION="+Region, "PYTHONDONTWRITEBYTECODE=1", "HOME="+dir)
	for name, value := range properties["Environment"].(map[string]any)["Variables"].(map[string]any) {
		cmd.Env = append(cmd.Env, fmt.Sprintf("%s=%v", name, value))
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		c.t.Fatalf("the function of the stack: %v\n%s", err, out)
	}
	return strings.TrimSpace(string(out))
}

// ApplyProject returns the commands and the variables of the project that applies the
// configuration, as the template has them.
func (c *Cloud) ApplyProject() Project {
	properties := c.Stack().Properties("ApplyProject")
	p := Project{Variables: map[string]string{}}
	p.Spec, _ = properties["Source"].(map[string]any)["BuildSpec"].(string)
	list, _ := properties["Environment"].(map[string]any)["EnvironmentVariables"].([]any)
	for _, v := range list {
		one := v.(map[string]any)
		p.Variables[fmt.Sprint(one["Name"])] = fmt.Sprint(one["Value"])
	}
	return p
}
