// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cloud

import (
	"context"
	"errors"
	"strings"

	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// fault is what an error code of AWS means here.
type fault struct {
	code pipeline.Code
	hint string
}

const (
	hintDenied   = "Grant the caller the permission that the message names; the guide to IAM lists them all."
	hintExpired  = "The session has ended. Log in again."
	hintQuota    = "Ask AWS for a higher quota in this region, or end what is no longer needed."
	hintCapacity = "AWS lacks capacity for this at the moment. Try again, or choose another instance type or other subnets."
	hintVCPU     = "Ask AWS for a higher quota \"Running On-Demand … instances\", in vCPUs, of the kind that the instance type is of " +
		"(Service Quotas, Amazon EC2; L-1216C47A for types of A, C, D, H, I, M, R, T and Z), choose a smaller instance_type, or end what is no longer needed."
	hintSpot     = "Ask AWS for a higher quota \"All … Spot Instance Requests\" (Service Quotas, Amazon EC2; L-34B43A08 for types of A, C, D, H, I, M, R, T and Z), or remove environment.spot."
	hintSpotRole = "Spot was never used in this account. Make its role: aws iam create-service-linked-role --aws-service-name spot.amazonaws.com"
	hintVolumes  = "Ask AWS for a higher quota of EBS, that which the message names (Service Quotas, Amazon EBS), choose a smaller volume, or remove volumes that are no longer needed."
	hintAddress  = "The subnet has no free address. Give the stack larger or more subnets, or end what is no longer needed."
	hintKeyState = "Enable the KMS key that the message names (aws kms enable-key), after its deletion was cancelled (aws kms cancel-key-deletion); or use another key."
	hintKey      = "The caller may not use the KMS key of the volume, or the key is disabled. The guide to IAM says how to give keys to the stack."
	hintAway     = "AWS could not be reached, or is disturbed. Its health page says so for each region: apply again when it is well. Else check the way there: network, proxy and DNS."
	hintThrottle = "The account's rate of requests is exhausted. Try again later, or with a lower -parallelism."
)

// faults is the one table of AWS's error codes. What is not in it has failed. The
// codes are those of the API references, in EC2's case of its page "Error codes".
var faults = map[string]fault{
	"AccessDenied":                                      {pipeline.CodeNotAllowed, hintDenied},
	"AccessDeniedException":                             {pipeline.CodeNotAllowed, hintDenied},
	"UnauthorizedOperation":                             {pipeline.CodeNotAllowed, hintDenied},
	"AuthorizationError":                                {pipeline.CodeNotAllowed, hintDenied}, // of SNS
	"AuthFailure":                                       {pipeline.CodeNotAllowed, hintDenied},
	"ExpiredToken":                                      {pipeline.CodeNotAllowed, hintExpired},
	"ExpiredTokenException":                             {pipeline.CodeNotAllowed, hintExpired},
	"RequestExpired":                                    {pipeline.CodeNotAllowed, hintExpired},
	"InsufficientInstanceCapacity":                      {pipeline.CodeFailed, hintCapacity},
	"InstanceLimitExceeded":                             {pipeline.CodeFailed, hintQuota},
	"VcpuLimitExceeded":                                 {pipeline.CodeFailed, hintVCPU},
	"VolumeLimitExceeded":                               {pipeline.CodeFailed, hintVolumes},
	"MaxIOPSLimitExceeded":                              {pipeline.CodeFailed, hintVolumes},
	"AddressLimitExceeded":                              {pipeline.CodeFailed, hintQuota},
	"NetworkInterfaceLimitExceeded":                     {pipeline.CodeFailed, hintQuota},
	"InsufficientFreeAddressesInSubnet":                 {pipeline.CodeFailed, hintAddress},
	"Unsupported":                                       {pipeline.CodeFailed, hintCapacity},
	"SpotMaxPriceTooLow":                                {pipeline.CodeFailed, hintCapacity},
	"InvalidKMSKey.InvalidState":                        {pipeline.CodeFailed, hintKey},
	"KMSKeyNotAccessibleFault":                          {pipeline.CodeFailed, hintKey},
	"DisabledException":                                 {pipeline.CodeFailed, hintKeyState}, // of KMS
	"KMSInvalidStateException":                          {pipeline.CodeFailed, hintKeyState},
	"KMS.DisabledException":                             {pipeline.CodeFailed, hintKeyState}, // of S3
	"KMS.KMSInvalidStateException":                      {pipeline.CodeFailed, hintKeyState},
	"KMSDisabled":                                       {pipeline.CodeFailed, hintKeyState}, // of SNS
	"KMSInvalidState":                                   {pipeline.CodeFailed, hintKeyState},
	"AuthFailure.ServiceLinkedRoleCreationNotPermitted": {pipeline.CodeNotAllowed, hintSpotRole},
	"SnapshotLimitExceeded":                             {pipeline.CodeFailed, hintQuota},
	"ResourceLimitExceeded":                             {pipeline.CodeFailed, hintQuota},
	"MaxSpotInstanceCountExceeded":                      {pipeline.CodeFailed, hintSpot},
	"AccountLimitExceededException":                     {pipeline.CodeFailed, hintQuota},
	"LimitExceeded":                                     {pipeline.CodeFailed, hintQuota}, // of Auto Scaling
	"TooManyLoadBalancers":                              {pipeline.CodeFailed, hintQuota},
	"TooManyTargetGroups":                               {pipeline.CodeFailed, hintQuota},
	"ServiceUnavailable":                                {pipeline.CodeFailed, hintAway},
	"ServiceUnavailableException":                       {pipeline.CodeFailed, hintAway},
	"Unavailable":                                       {pipeline.CodeFailed, hintAway}, // of EC2
	"InternalError":                                     {pipeline.CodeFailed, hintAway},
	"InternalFailure":                                   {pipeline.CodeFailed, hintAway},
	"InternalServerError":                               {pipeline.CodeFailed, hintAway}, // of DynamoDB
	"RequestTimeout":                                    {pipeline.CodeFailed, hintAway}, // of S3
	"RequestLimitExceeded":                              {pipeline.CodeFailed, hintThrottle},
	"Throttling":                                        {pipeline.CodeFailed, hintThrottle},
	"ThrottlingException":                               {pipeline.CodeFailed, hintThrottle},
	"InvalidInstanceID.NotFound":                        {pipeline.CodeNotFound, ""},
	"InvalidAMIID.NotFound":                             {pipeline.CodeNotFound, ""},
	"InvalidAMIID.Unavailable":                          {pipeline.CodeNotFound, ""},
	"InvalidSnapshot.NotFound":                          {pipeline.CodeNotFound, ""},
	"InvalidLaunchTemplateId.NotFound":                  {pipeline.CodeNotFound, ""},
	"InvalidLaunchTemplateId.VersionNotFound":           {pipeline.CodeNotFound, ""},
	"InvalidLaunchTemplateName.NotFoundException":       {pipeline.CodeNotFound, ""},
	"LoadBalancerNotFound":                              {pipeline.CodeNotFound, ""},
	"TargetGroupNotFound":                               {pipeline.CodeNotFound, ""},
	"ListenerNotFound":                                  {pipeline.CodeNotFound, ""},
	"RuleNotFound":                                      {pipeline.CodeNotFound, ""},
	"ResourceNotFoundException":                         {pipeline.CodeNotFound, ""},
	"ParameterNotFound":                                 {pipeline.CodeNotFound, ""},
	"NoSuchKey":                                         {pipeline.CodeNotFound, ""},
	"NotFound":                                          {pipeline.CodeNotFound, ""},
	"NotFoundException":                                 {pipeline.CodeNotFound, ""}, // of KMS
	"NoSuchBucket":                                      {pipeline.CodeNotFound, ""},
	"InvalidInstanceType.NotFound":                      {pipeline.CodeInvalid, ""},
	"InvalidParameterValue":                             {pipeline.CodeInvalid, ""},
	"IdempotentInstanceTerminated":                      {pipeline.CodeFailed, "The instance of an earlier try was terminated. Apply again, which launches another."},
	"InvalidSnapshot.InUse":                             {pipeline.CodeConflict, ""},
	"DependencyViolation":                               {pipeline.CodeConflict, ""},
	"ResourceInUse":                                     {pipeline.CodeConflict, ""},
	"PreconditionFailed":                                {pipeline.CodeConflict, ""},
	"ConditionalRequestConflict":                        {pipeline.CodeConflict, ""},
}

// Code returns AWS's error code of an error; empty where AWS did not answer.
func Code(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) {
		return api.ErrorCode()
	}
	return ""
}

// Is reports whether an error has one of AWS's error codes.
func Is(err error, codes ...string) bool {
	code := Code(err)
	for _, c := range codes {
		if code == c && code != "" {
			return true
		}
	}
	return false
}

// IsNotFound reports whether AWS does not have what was asked for.
func IsNotFound(err error) bool {
	return pipeline.CodeOf(err) == pipeline.CodeNotFound || faults[Code(err)].code == pipeline.CodeNotFound
}

// Fault returns err, which may be nil, the code and the remedy of what AWS answered.
// An error that has a code already keeps it.
func Fault(ctx context.Context, op string, err error) error {
	var own *pipeline.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &own):
		return err
	case ctx.Err() != nil:
		return &pipeline.Error{Code: pipeline.CodeCancelled, Op: op, Err: err}
	}
	f, ok := faults[Code(err)]
	if !ok {
		f = fault{code: pipeline.CodeFailed}
		if unsent := (*smithyhttp.RequestSendError)(nil); errors.As(err, &unsent) {
			f.hint = hintAway
		}
		if strings.HasSuffix(Code(err), ".Malformed") {
			f.code = pipeline.CodeInvalid
		}
	}
	return &pipeline.Error{Code: f.code, Op: op, Err: err, Hint: f.hint}
}
