// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

// Package cloudtest is the AWS of the tests: one moto_server for each test binary,
// behind a proxy that mends what moto gets wrong, adds what it lacks, injects
// faults, and counts requests. Each test has an account of its own.
//
//	func TestMain(m *testing.M) { os.Exit(cloudtest.Main(m)) }
//
//	func TestSomething(t *testing.T) {
//		c := cloudtest.New(t)
//		client := dynamodb.NewFromConfig(c.Config())
//	}
//
// Requests are judged as IAM judges them, by the policies of the bootstrap's template and
// what each names: those with Config, which is for the program, as a deployer's, those with
// As as another role's. What a role may not do is refused as its service refuses it. What a
// test does itself it does with Own, as the account's owner, who may do everything.
//
// What the proxy answers or changes by itself, as AWS documents it:
//
//	SSM   SendCommand, GetCommandInvocation, CancelCommand and
//	      DescribeInstanceInformation: commands run, each instance in a directory, and run
//	      again after a restart, which exit status 194 asks for
//	      PutParameter, of data type aws:ec2:image: looks at the image after it has answered
//	EC2   RunInstances: client tokens, registration of the agent, tags of network interfaces;
//	      boots in the order of cloud-init and systemd: boot hooks, enabled services, user data
//	      shutdown, reboot and poweroff on a machine, and the timers of its own
//	      StopInstances, StartInstances, TerminateInstances: the directory's processes
//	      CreateImage, CopyImage: copy the directory; names are unique; pending for a time,
//	      failed when a test says so; tags of snapshots, client tokens, keys
//	      DescribeImages: deprecation, protection, and what other accounts share or deprecate
//	      DeregisterImage: not of a protected image
//	      Modify- and DescribeSnapshotAttribute: permissions are added or removed, not both; what
//	      the default key of AWS encrypts, nobody shares
//	      DescribeImageReferences, and usage reports of images in other accounts
//	      images launch in their region, once they are available, where they are shared, and
//	      also by resolve:ssm:
//	      for a time after it was made nothing is found
//	      addresses: an instance has a loopback address, where its service listens
//	ELB   load balancers forward to the healthy targets that their rules name
//	CodeBuild  BatchGetProjects, StartBuild, BatchGetBuilds and StopBuild: builds run
//	      their buildspec, each in a directory, in phases that take time
//	Logs  GetLogEvents: what builds print
//	Auto Scaling  a group's instances have bodies, which come and go with it; it ends
//	      for a time; DescribeScalingActivities, of activities that a test sets
//	Scheduler  schedules are carried out when a test says that they are due
//	CloudWatch  DescribeAlarms, of alarms that a test sets
//	CloudFormation  outputs of a stack that a change set made; lists in parameters
//	DynamoDB  no write is lost while a transaction runs
//	all   what moto does not have is a clear error, not a page of HTML
package cloudtest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"github.com/penstock-io/terraform-provider-penstock/internal/process"
)

// Region is the region of every account's configuration.
const Region = "eu-west-1"

// shared is the simulator of this test binary. Its start takes seconds, so the
// tests share it; it ends with Main.
var shared struct {
	sync.Mutex
	server   *server
	accounts int
}

// Main runs the tests of a package that uses the test cloud, and ends the cloud.
func Main(m *testing.M) int {
	process.Guard()
	code := m.Run()
	if err := checkCalls(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, "who calls what:", err)
		code = 1
	}
	shared.Lock()
	defer shared.Unlock()
	if shared.server != nil {
		if err := shared.server.close(); err != nil {
			fmt.Fprintln(os.Stderr, "end the test cloud:", err)
			return 1
		}
	}
	return code
}

// Cloud is an AWS account of a test's own.
type Cloud struct {
	ID  string // 12 digits
	URL string // of the proxy

	t      testing.TB
	server *server
	mu     sync.Mutex
	calls  []Call
	faults []*Fault
	pace   Pace
	ahead  time.Duration

	delivery string // how commands fail to reach instances
	programs string // directory of those that instances have; empty: this machine's
	without  []string
}

// Call is a request that the account got.
type Call struct {
	Service string // as in a credential scope: "ec2", "dynamodb"
	Region  string
	Action  string   // "RunInstances"; for S3 the method, as in "PUT"
	Path    string   // of the URL
	App     string   // that the client says it is
	Role    string   // of who made it; empty is the account's owner
	Actions []string // of IAM, that it was judged by
	At      time.Time
}

// Pace is how long changes take. Zero is at once.
type Pace struct {
	Boot   time.Duration // from RunInstances until an instance is running
	Agent  time.Duration // from then until the agent has registered
	Image  time.Duration // from CreateImage until an image is available
	End    time.Duration // from DeleteAutoScalingGroup until the group is no longer shown
	Build  time.Duration // from StartBuild until a build has its machine
	Minute time.Duration // of the time limits of builds, and of machines' own deadlines; 0 is a minute
	Output time.Duration // from the end of a command until its output is in the bucket
	// Register is how long a target is registered and checked before it gets requests.
	Register time.Duration
	// Command is the longest that a command may run; 0 is as long as the request says.
	Command time.Duration
	// Latency is how long each answer takes, beside what it takes to give it.
	Latency time.Duration
	// Visible is how long instances and images are not found, and not listed, once they
	// were made.
	Visible time.Duration
	// Parameter is how long AWS looks at an image before a parameter says it.
	Parameter time.Duration
	// Report is how long a report on the accounts that use an image takes.
	Report time.Duration
	// Grant is how long KMS does not know a grant on one of the account's keys, once it was made.
	Grant time.Duration
}

// Fault makes requests fail. It is used up when it has struck Times times.
type Fault struct {
	Service string // empty means any
	Action  string // empty means any
	Region  string // empty means any
	Nth     int    // the first matching request that it strikes, from 1; 0 means the first
	Times   int    // 0 means once
	// Share is the share of the matching requests that it strikes, from the Nth on and at
	// random: 0.1 is one in ten. 0 means each.
	Share   float64
	Code    string // of the error; empty drops the connection
	Message string
	Status  int           // 0 means 400
	Reasons []string      // of a cancelled transaction of DynamoDB, by its items
	After   bool          // the request takes effect, and its answer is lost
	Do      func()        // what happens then, before the error, the drop or the late answer; nil: nothing
	Slow    time.Duration // how long the request waits; without a code it is answered then

	seen, struck int
}

// New gives the test an account in the test cloud.
func New(t testing.TB) *Cloud {
	t.Helper()
	shared.Lock()
	defer shared.Unlock()
	if shared.server == nil {
		s, err := start()
		if err != nil {
			t.Fatalf("start the test cloud: %v", err)
		}
		shared.server = s
	}
	shared.accounts++
	c := &Cloud{ID: fmt.Sprintf("%012d", 100000000000+shared.accounts), URL: shared.server.url, t: t, server: shared.server}
	c.server.add(c)
	t.Cleanup(func() { c.server.remove(c) })
	return c
}

// Config returns the configuration of the program, for a deployer.
func (c *Cloud) Config() aws.Config {
	return aws.Config{
		Region: Region, BaseEndpoint: aws.String(c.URL), HTTPClient: &http.Client{Timeout: time.Minute},
		Credentials:      credentials.NewStaticCredentialsProvider("AKIA"+c.ID+Deployer, "secret", ""),
		RetryMaxAttempts: 3,
	}
}

// Own returns the configuration of the account's owner, for what a test does itself.
func (c *Cloud) Own() aws.Config { return c.As(Owner) }

// AccessKey returns the ID of the owner's access key.
func (c *Cloud) AccessKey() string { return "AKIA" + c.ID }

// Environ returns the variables by which a program finds the account, for a deployer.
func (c *Cloud) Environ() []string { return c.EnvironAs(Deployer) }

// EnvironAs is Environ for who has another role.
func (c *Cloud) EnvironAs(role string) []string {
	return []string{"AWS_ENDPOINT_URL=" + c.URL, "AWS_REGION=" + Region, "AWS_ACCESS_KEY_ID=AKIA" + c.ID + role, "AWS_SECRET_ACCESS_KEY=secret",
		"AWS_EC2_METADATA_DISABLED=true", "AWS_CONFIG_FILE=/dev/null", "AWS_SHARED_CREDENTIALS_FILE=/dev/null"}
}

// SetPace sets how long changes take from now on.
func (c *Cloud) SetPace(p Pace) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pace = p
}

// SetClock makes the account's clock run ahead of this machine's, from now on.
func (c *Cloud) SetClock(ahead time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ahead = ahead
}

// leads returns how far the account's clock is ahead of this machine's.
func (c *Cloud) leads() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ahead
}

// date is what the account's answers say as theirs.
func (c *Cloud) date() string { return time.Now().Add(c.leads()).UTC().Format(http.TimeFormat) }

// Calls returns the requests since the account was made, or since ResetCalls.
func (c *Cloud) Calls() []Call {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]Call(nil), c.calls...)
}

// ResetCalls forgets the requests so far.
func (c *Cloud) ResetCalls() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls = nil
}

// Count returns the number of requests by action.
func (c *Cloud) Count() map[string]int {
	n := map[string]int{}
	for _, call := range c.Calls() {
		n[call.Action]++
	}
	return n
}

// Fail makes requests fail from now on.
func (c *Cloud) Fail(faults ...Fault) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, f := range faults {
		c.faults = append(c.faults, &f)
	}
}

// Mend forgets all faults.
func (c *Cloud) Mend() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.faults = nil
}

// called records a request and returns the fault that strikes it.
func (c *Cloud) called(call Call) *Fault {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls = append(c.calls, call)
	for _, f := range c.faults {
		if f.Service != "" && f.Service != call.Service || f.Action != "" && f.Action != call.Action || f.Region != "" && f.Region != call.Region {
			continue
		}
		f.seen++
		if f.seen >= max(f.Nth, 1) && f.struck < max(f.Times, 1) && (f.Share == 0 || rand.Float64() < f.Share) {
			f.struck++
			return f
		}
	}
	return nil
}

// logf writes to the log of the test, for as long as it runs.
func (c *Cloud) logf(format string, args ...any) {
	if context.Cause(c.t.Context()) == nil {
		c.t.Logf(format, args...)
	}
}
