// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

// Package audit asks AWS itself whether what a stack needs is there: what its roles may do,
// as IAM's simulator sees them with boundaries and policies of the organization, the key
// that EBS encrypts with, quotas of machines, load balancers and builds, and the ways of the subnets to what instances need. It
// changes nothing, and decides nothing: each answer is one of AWS's, or says that AWS could
// not be asked.
//
//	answers := audit.New(cfg, resources).Ask(ctx)
package audit

import (
	"context"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/codebuild"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/servicequotas"

	"github.com/penstock-io/terraform-provider-penstock/internal/bootstrap"
)

// State says how good an answer is.
type State int

// The states.
const (
	Good    State = iota
	Doubt         // it works, but look at it
	Bad           // something will not work
	Unasked       // AWS did not answer
)

// Answer is what AWS says to one question.
type Answer struct {
	Check string // what was asked about
	State State
	Text  string
	Hint  string // what to do; empty where all is well
}

// Audit asks about one stack.
type Audit struct {
	made      bootstrap.Resources
	partition string
	region    string
	account   string
	iam       *iam.Client
	ec2       *ec2.Client
	elb       *elasticloadbalancingv2.Client
	kms       *kms.Client
	quotas    *servicequotas.Client
	builds    *codebuild.Client
	answers   []Answer
}

// New makes the audit of a stack.
func New(cfg aws.Config, made bootstrap.Resources) *Audit {
	a := &Audit{
		made: made, region: cfg.Region, iam: iam.NewFromConfig(cfg), ec2: ec2.NewFromConfig(cfg), elb: elasticloadbalancingv2.NewFromConfig(cfg),
		kms: kms.NewFromConfig(cfg), quotas: servicequotas.NewFromConfig(cfg), builds: codebuild.NewFromConfig(cfg),
	}
	if parts := strings.SplitN(made.ID, ":", 6); len(parts) == 6 { // of the stack
		a.partition, a.account = parts[1], parts[4]
	}
	return a
}

// Ask asks all questions, and returns the answers in their order. It may be called once.
func (a *Audit) Ask(ctx context.Context) []Answer {
	a.rights(ctx)
	a.key(ctx)
	a.reach(ctx)
	a.limits(ctx)
	a.concurrency(ctx)
	return a.answers
}

func (a *Audit) say(check string, state State, hint, format string, args ...any) {
	a.answers = append(a.answers, Answer{Check: check, State: state, Text: fmt.Sprintf(format, args...), Hint: hint})
}

// unasked says that AWS did not answer, and what the caller needs for it.
func (a *Audit) unasked(check, action string, err error) {
	a.say(check, Unasked, "Ask as somebody who may call "+action+". The roles of the stack may not.", "AWS could not be asked: %v", err)
}
