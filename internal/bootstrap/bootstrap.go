// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

// Package bootstrap deploys what Penstock needs in an AWS account and region: one
// CloudFormation stack, through a change set that can be looked at first. It finds
// what the stack made, and removes it. It knows nothing of pipelines.
//
//	s := bootstrap.New(cfg, "penstock")
//	changes, err := s.Plan(ctx, bootstrap.Parameters{})
//	if err != nil {
//		return err
//	}
//	if err := changes.Apply(ctx, func(e bootstrap.Event) { log.Println(e) }); err != nil {
//		return err
//	}
//	resources, err := s.Find(ctx)
package bootstrap

import (
	"bytes"
	"context"
	_ "embed"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation/types"
	"gopkg.in/yaml.v3"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/poll"
)

// DefaultName is the stack's name where none is given.
const DefaultName = "penstock"

// TemplateVersion is the version of the template that this program brings. It equals
// the template's output of that name.
const TemplateVersion = 7

// minimumVersion is the oldest template that this program works with.
const minimumVersion = 1

// TargetVersion is the oldest template of a stack that environments of another stack's
// pipelines can be in.
const TargetVersion = 6

// tagStack is the tag of the stack and of all that is made by it, and later in it.
const tagStack = "penstock:stack"

// deployLimit is for the slowest change, a NAT gateway with all that waits for it,
// several times over.
const deployLimit = 45 * time.Minute

//go:embed template.yaml
var commented string

// Client is what the package calls of CloudFormation.
type Client interface {
	Options() cloudformation.Options
	DescribeStacks(context.Context, *cloudformation.DescribeStacksInput, ...func(*cloudformation.Options)) (*cloudformation.DescribeStacksOutput, error)
	DescribeStackEvents(context.Context, *cloudformation.DescribeStackEventsInput, ...func(*cloudformation.Options)) (*cloudformation.DescribeStackEventsOutput, error)
	DeleteStack(context.Context, *cloudformation.DeleteStackInput, ...func(*cloudformation.Options)) (*cloudformation.DeleteStackOutput, error)
	CreateChangeSet(context.Context, *cloudformation.CreateChangeSetInput, ...func(*cloudformation.Options)) (*cloudformation.CreateChangeSetOutput, error)
	DescribeChangeSet(context.Context, *cloudformation.DescribeChangeSetInput, ...func(*cloudformation.Options)) (*cloudformation.DescribeChangeSetOutput, error)
	ListChangeSets(context.Context, *cloudformation.ListChangeSetsInput, ...func(*cloudformation.Options)) (*cloudformation.ListChangeSetsOutput, error)
	ExecuteChangeSet(context.Context, *cloudformation.ExecuteChangeSetInput, ...func(*cloudformation.Options)) (*cloudformation.ExecuteChangeSetOutput, error)
	DeleteChangeSet(context.Context, *cloudformation.DeleteChangeSetInput, ...func(*cloudformation.Options)) (*cloudformation.DeleteChangeSetOutput, error)
}

var _ Client = (*cloudformation.Client)(nil)

// pause is the shortest pause between two looks at what is waited for.
const pause = 2 * time.Second

// Stack is the stack of one installation, whether it exists or not.
type Stack struct {
	name     string
	client   Client
	uploader Uploader
	template string
	pause    time.Duration
}

// New returns the stack of a name, in the account and region of a configuration.
func New(cfg aws.Config, name string) *Stack {
	return NewWith(cloudformation.NewFromConfig(cfg), uploaderOf(cfg), name, pause)
}

// NewWith is New with clients of the caller's, and the shortest pause between two
// looks at what is waited for.
func NewWith(client Client, uploader Uploader, name string, pause time.Duration) *Stack {
	return &Stack{name: name, client: client, uploader: uploader, template: Template(), pause: pause}
}

// advice says what people can do about the stack.
func (s *Stack) advice(verb pipeline.Verb) pipeline.Advice {
	a := pipeline.Advice{Verb: verb, Region: s.client.Options().Region}
	if s.name != DefaultName {
		a.Stack = s.name
	}
	return a
}

// Template returns the template as it is deployed, without its comments, with a line for
// each resource.
func Template() string { return compacted() }

var compacted = sync.OnceValue(func() string {
	var doc yaml.Node
	if err := yaml.Unmarshal([]byte(commented), &doc); err != nil {
		panic(err) // it is a part of the program
	}
	shorten(&doc)
	compact(&doc, 0)
	var text bytes.Buffer
	encoder := yaml.NewEncoder(&text)
	encoder.SetIndent(1)
	if err := encoder.Encode(&doc); err != nil {
		panic(err)
	}
	return dense(text.String())
})

// shorten gives conditions, which many resources name, short names.
func shorten(doc *yaml.Node) {
	names := map[string]string{}
	sections := doc.Content[0].Content
	for i := 0; i < len(sections); i += 2 {
		if sections[i].Value == "Conditions" {
			for n := 0; n < len(sections[i+1].Content); n += 2 {
				names[sections[i+1].Content[n].Value] = "C" + strconv.Itoa(n/2)
			}
		}
	}
	var rename func(*yaml.Node)
	rename = func(n *yaml.Node) {
		if short, ok := names[n.Value]; ok && n.Kind == yaml.ScalarNode {
			n.Value = short
		}
		for _, c := range n.Content {
			rename(c)
		}
	}
	rename(doc)
}

// dense removes the blanks behind commas in braces and brackets, which YAML does not need.
func dense(text string) string {
	var b strings.Builder
	open, quote := 0, byte(0)
	for i := range len(text) {
		switch c := text[i]; {
		case quote != 0:
			if c == quote && (quote == '\'' || text[i-1] != '\\') {
				quote = 0
			}
		case open > 0 && (c == '"' || c == '\'') && strings.ContainsRune(" ,[{'", rune(text[i-1])):
			quote = c
		case c == '{' || c == '[':
			open++
		case (c == '}' || c == ']') && open > 0:
			open--
		case c == ' ' && open > 0 && text[i-1] == ',':
			continue
		}
		b.WriteByte(text[i])
	}
	return b.String()
}

// compact writes what is below a resource, which is the third level of a template, in one
// line, and drops comments, what is for cfn-lint alone, and what describes parameters and
// outputs, for which the program has words of its own.
func compact(n *yaml.Node, depth int) {
	for i := 0; n.Kind == yaml.MappingNode && i < len(n.Content); {
		if name := n.Content[i].Value; name == "Metadata" || name == "Description" && depth == 3 {
			n.Content = slices.Delete(n.Content, i, i+2)
			continue
		}
		i += 2
	}
	n.HeadComment, n.LineComment, n.FootComment = "", "", ""
	switch {
	case depth >= 3 && n.Kind != yaml.ScalarNode:
		n.Style |= yaml.FlowStyle
	case n.Kind == yaml.ScalarNode && n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0:
		n.Style = yaml.DoubleQuotedStyle
	}
	for _, c := range n.Content {
		compact(c, depth+1)
	}
}

// stackName is CloudFormation's rule for names of at most stackNameLength.
var stackName = regexp.MustCompile(`^[a-zA-Z][-a-zA-Z0-9]*$`)

const stackNameLength = 128

// newNameLength is what a new stack's name may have. A deployer role that is not for everybody
// of the account knows the role of the runner by the stack's name, and CloudFormation cuts that in the names of roles, which have 64
// characters with "-RunnerRole-" and 13 of its own.
const newNameLength = 64 - len("-RunnerRole-") - 13

// describe returns the stack of a name or ID; nil where there is none.
func (s *Stack) describe(ctx context.Context, name string) (*types.Stack, error) {
	out, err := s.client.DescribeStacks(ctx, &cloudformation.DescribeStacksInput{StackName: aws.String(name)})
	switch {
	case cloud.Is(err, "ValidationError"):
		// CloudFormation has no code of its own for a stack that does not exist. With
		// a name that is well formed, there is no other reason for this one.
		return nil, nil
	case err != nil:
		return nil, cloud.Fault(ctx, s.op("find"), err)
	case len(out.Stacks) == 0:
		return nil, nil
	}
	return &out.Stacks[0], nil
}

// op names an operation on the stack for errors.
func (s *Stack) op(verb string) string { return verb + " stack " + s.name }

func (s *Stack) check() error {
	if len(s.name) > stackNameLength || !stackName.MatchString(s.name) {
		return pipeline.Errorf(pipeline.CodeInvalid, "name stack", "%q is not a valid stack name", s.name).
			WithHint("Use letters, digits and hyphens, at most 128, with a letter first.")
	}
	return nil
}

func (s *Stack) wait(ctx context.Context, what string, probe func(context.Context) (poll.Probe, error)) error {
	err := poll.Until(ctx, poll.Schedule{First: s.pause, Max: 3 * s.pause, Factor: 1.2, Limit: deployLimit, What: what}, probe)
	return cloud.Fault(ctx, s.op("wait for"), err)
}
