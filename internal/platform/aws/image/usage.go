// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package image

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/aws/stack"
	"github.com/penstock-io/terraform-provider-penstock/internal/poll"
)

// AWS reports on request what other accounts have of an image. The report takes time to be
// made, and AWS says that it may lack the instances of the last day and the launch templates
// of the last days.

const (
	// reportLimit is how long a removal waits for a report. A later one goes on with it.
	reportLimit = 5 * time.Minute
	// reportDepth is in how many versions of a launch template, from the newest one on, other
	// accounts count as users. It is AWS's own default. AWS would look at 10,000, and whoever makes
	// a version for each image would then keep them all.
	reportDepth = 20
	// reportAge is how old a report may be that an earlier removal did not read.
	reportAge = time.Hour
)

// elsewhere names the accounts that use an image, where it is shared.
func (r regional) elsewhere(ctx context.Context, image types.Image) (by []string, err error) {
	id := aws.ToString(image.ImageId)
	with, err := r.permissions(ctx, id)
	if pipeline.IsNotFound(err) { // another one removes it, too
		return nil, nil
	}
	if err != nil || len(with) == 0 {
		return nil, err
	}
	u := usage{r, id}
	report, err := u.report(ctx)
	if err != nil {
		return nil, err
	}
	if err := u.wait(ctx, report); err != nil {
		return nil, err
	}
	pages := ec2.NewDescribeImageUsageReportEntriesPaginator(r.ec2, &ec2.DescribeImageUsageReportEntriesInput{ReportIds: []string{report}})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		for _, e := range page.ImageUsageReportEntries {
			what, account := map[string]string{"ec2:Instance": "instances", "ec2:LaunchTemplate": "launch templates"}[aws.ToString(e.ResourceType)], aws.ToString(e.AccountId)
			if n := aws.ToInt64(e.UsageCount); n > 0 && account != aws.ToString(image.OwnerId) {
				by = append(by, fmt.Sprintf("account %s (%s: %d)", account, what, n))
			}
		}
	}
	return by, u.delete(ctx, report)
}

// usage is what AWS says of the users of an image in other accounts.
type usage struct {
	regional
	id string
}

// report returns the report on the image that is made or being made, and asks for one where there
// is none that is young enough. It returns CodeConflict while somebody else's is being made: AWS
// makes one at a time on an image, and what others have asked for may leave out what matters here.
func (u usage) report(ctx context.Context) (string, error) {
	all, err := u.all(ctx)
	if err != nil {
		return "", err
	}
	for _, had := range all {
		if !u.own(had) {
			continue
		}
		report := aws.ToString(had.ReportId)
		if aws.ToString(had.State) != "error" && u.stack.Now().Sub(aws.ToTime(had.CreationTime)) < reportAge {
			return report, nil
		}
		if err := u.delete(ctx, report); err != nil {
			return "", err
		}
	}
	if err := u.vacant(all); err != nil {
		return "", err
	}
	made, err := u.ec2.CreateImageUsageReport(ctx, &ec2.CreateImageUsageReportInput{
		// The token of the same image would be that of a report that was read, and is gone. One
		// whose answer is lost is found by its tags.
		ImageId: aws.String(u.id), ClientToken: aws.String(rand.Text()),
		ResourceTypes: []types.ImageUsageResourceTypeRequest{{ResourceType: aws.String("ec2:Instance")}, {
			ResourceType:        aws.String("ec2:LaunchTemplate"),
			ResourceTypeOptions: []types.ImageUsageResourceTypeOptionRequest{{OptionName: aws.String("version-depth"), OptionValues: []string{strconv.Itoa(reportDepth)}}},
		}},
		TagSpecifications: []types.TagSpecification{{
			ResourceType: types.ResourceTypeImageUsageReport, Tags: u.stack.TagsOf(pipeline.Labels{}, nil),
		}},
	})
	if err == nil {
		return aws.ToString(made.ReportId), nil
	}
	// AWS's reference lists no code for a second report: somebody may have asked meanwhile.
	if now, looked := u.all(ctx); looked == nil {
		if taken := u.vacant(now); taken != nil {
			return "", taken
		}
	}
	return "", err
}

// all returns all reports on the image.
func (u usage) all(ctx context.Context) (list []types.ImageUsageReport, err error) {
	pages := ec2.NewDescribeImageUsageReportsPaginator(u.ec2, &ec2.DescribeImageUsageReportsInput{ImageIds: []string{u.id}})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		list = append(list, page.ImageUsageReports...)
	}
	return list, nil
}

// own reports whether a report is this installation's.
func (u usage) own(report types.ImageUsageReport) bool {
	return stack.Tag(report.Tags, stack.TagStack) == u.stack.Settings.Stack
}

// vacant returns CodeConflict where a report of somebody else's is being made on the image.
func (u usage) vacant(reports []types.ImageUsageReport) error {
	for _, one := range reports {
		if aws.ToString(one.State) == "pending" && !u.own(one) {
			return pipeline.Errorf(pipeline.CodeConflict, "remove image "+u.id, "it counts as in use, because AWS makes one report on it at a time in %s, and somebody else's, %s, is being made", u.region, aws.ToString(one.ReportId)).
				WithHint("Clean up again when that is made.")
		}
	}
	return nil
}

// wait waits until a report is made. It returns CodeConflict for one that AWS can't make,
// or does not make in time.
func (u usage) wait(ctx context.Context, report string) error {
	op := "remove image " + u.id
	err := u.stack.Wait(ctx, "report "+report+" in "+u.region, u.reports, func(ctx context.Context) (poll.Probe, error) {
		out, err := u.ec2.DescribeImageUsageReports(ctx, &ec2.DescribeImageUsageReportsInput{ReportIds: []string{report}})
		if reportGone(err) || err == nil && len(out.ImageUsageReports) == 0 {
			return poll.Probe{State: "not listed yet"}, nil
		}
		if err != nil {
			return poll.Probe{}, err
		}
		found := out.ImageUsageReports[0]
		if aws.ToString(found.State) == "error" {
			return poll.Probe{}, pipeline.Errorf(pipeline.CodeConflict, op, "it counts as in use, because AWS can't say which accounts use it in %s: %s", u.region, aws.ToString(found.StateReason)).
				WithHint("Clean up again later.")
		}
		return poll.Probe{Done: aws.ToString(found.State) == "available", State: aws.ToString(found.State)}, nil
	})
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return pipeline.Errorf(pipeline.CodeConflict, op, "it counts as in use, because AWS has not said yet which accounts use it in %s: %w", u.region, err).
			WithHint("Clean up again later, which goes on with the report.")
	}
	return err
}

// delete removes a report. One that may not be removed, as IAM says also of one that is
// gone, AWS removes after 30 days.
func (u usage) delete(ctx context.Context, report string) error {
	_, err := u.ec2.DeleteImageUsageReport(ctx, &ec2.DeleteImageUsageReportInput{ReportId: aws.String(report)})
	if reportGone(err) || pipeline.CodeOf(cloud.Fault(ctx, "remove report", err)) == pipeline.CodeNotAllowed {
		return nil
	}
	return err
}

// reportGone reports whether AWS knows no such report: its reference lists no code for that.
func reportGone(err error) bool { return strings.HasSuffix(cloud.Code(err), ".NotFound") }
