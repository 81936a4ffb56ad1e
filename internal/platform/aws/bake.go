// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package aws

import (
	"cmp"
	"context"
	"fmt"
	"regexp"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/ssm"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/poll"
)

const opBake = "bake image"

const (
	// builderLife is when a builder powers off by itself, whatever happened to
	// whoever started it. It is longer than any apply's own time limit by default.
	builderLife = 4 * time.Hour

	// imageLimit is how long AWS may take to make an image: large volumes take long,
	// and there is nothing to gain by giving up early.
	imageLimit = 2 * time.Hour
)

// Resolve gives the AMI that a bake starts from.
func (p *Platform) Resolve(ctx context.Context, from pipeline.ImageFrom) (string, error) {
	const op = "resolve source image"
	switch {
	case from.Directory != "":
		return "", pipeline.Errorf(pipeline.CodeInvalid, op, "on AWS an image can't be made from a directory").
			WithHint("Set from = { ami = … }, { ssm_parameter = … } or { filter = … }, and copy the directory in a step: $PENSTOCK_SOURCE is the checkout.")
	case from.SSMParameter != "":
		id, ok, err := p.parameters.Get(ctx, from.SSMParameter)
		if err == nil && !ok {
			err = pipeline.Errorf(pipeline.CodeNotFound, op, "there is no SSM parameter %s in region %s", from.SSMParameter, p.Config.Region).WithHint("Correct from.ssm_parameter.")
		}
		return id, err
	case from.Filter != nil:
		return p.newest(ctx, *from.Filter)
	}
	return cmp.Or(from.AMI, from.Image), nil
}

// maxParameters is how many parameters SSM gives in one request.
const maxParameters = 10

// fetchParameters reads parameters by name; those that don't exist are left out.
func (p *Platform) fetchParameters(ctx context.Context, names []string) (map[string]string, error) {
	found := map[string]string{}
	for chunk := range slices.Chunk(names, maxParameters) {
		out, err := p.ssm.GetParameters(ctx, &ssm.GetParametersInput{Names: chunk})
		if err != nil {
			return nil, cloud.Fault(ctx, "read SSM parameters", err)
		}
		for _, v := range out.Parameters {
			found[aws.ToString(v.Name)] = aws.ToString(v.Value)
		}
	}
	return found, nil
}

// newest gives the newest image that a filter selects.
func (p *Platform) newest(ctx context.Context, f pipeline.ImageFilter) (string, error) {
	const op = "resolve source image"
	filters := []types.Filter{filter("name", f.Name), filter("state", "available")}
	if f.Architecture != "" {
		filters = append(filters, filter("architecture", f.Architecture))
	}
	list, err := p.findImages(ctx, f.Owners, filters...)
	if err != nil {
		return "", cloud.Fault(ctx, op, err)
	}
	if len(list) == 0 {
		return "", pipeline.Errorf(pipeline.CodeNotFound, op, "no image of %v in region %s has a name like %q", f.Owners, p.Config.Region, f.Name).
			WithHint("Correct from.filter.")
	}
	newest := slices.MaxFunc(list, func(a, b types.Image) int {
		return cmp.Compare(aws.ToString(a.CreationDate), aws.ToString(b.CreationDate))
	})
	return aws.ToString(newest.ImageId), nil
}

func (p *Platform) findImages(ctx context.Context, owners []string, filters ...types.Filter) ([]types.Image, error) {
	return p.describeImages(ctx, &ec2.DescribeImagesInput{Owners: owners, Filters: filters})
}

func (p *Platform) describeImages(ctx context.Context, in *ec2.DescribeImagesInput) ([]types.Image, error) {
	var list []types.Image
	pages := ec2.NewDescribeImagesPaginator(p.ec2, in)
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, cloud.Fault(ctx, "list images", err)
		}
		list = append(list, page.Images...)
	}
	return list, nil
}

// inState selects images by state.
func inState(list []types.Image, states ...types.ImageState) []types.Image {
	var found []types.Image
	for _, i := range list {
		if slices.Contains(states, i.State) {
			found = append(found, i)
		}
	}
	return found
}

// fetchImages reads images by ID; those that don't exist are left out. One that its
// owner has deprecated can be used for as long as it exists.
func (p *Platform) fetchImages(ctx context.Context, ids []string) (map[string]types.Image, error) {
	list, err := p.describeImages(ctx, &ec2.DescribeImagesInput{Filters: []types.Filter{filter("image-id", ids...)}, IncludeDeprecated: aws.Bool(true)})
	found := map[string]types.Image{}
	for _, i := range list {
		found[aws.ToString(i.ImageId)] = i
	}
	return found, err
}

// Bake makes an AMI: from an image by commands on a builder, or of the first
// instance of an environment. The AMI is recorded by its tags from the request that
// creates it; one that an earlier bake of the key left unfinished is finished.
func (p *Platform) Bake(ctx context.Context, r pipeline.BakeRequest) (pipeline.BakedImage, error) {
	ctx, err := p.fenced(ctx)
	if err != nil {
		return pipeline.BakedImage{}, err
	}
	switch {
	case r.Tree != "":
		_, err := p.Resolve(ctx, pipeline.ImageFrom{Directory: r.Tree})
		return pipeline.BakedImage{}, err
	case r.Environment != "":
		return p.bakeEnvironment(ctx, r)
	case r.Image == "":
		return pipeline.BakedImage{}, pipeline.Errorf(pipeline.CodeInvalid, opBake, "nothing says what it is made from")
	}
	found, err := p.imagesOf(ctx, r.Key)
	if err != nil {
		return pipeline.BakedImage{}, err
	}
	if len(found) > 0 {
		return p.finishImage(ctx, r, found[0])
	}
	return p.bakeAnew(ctx, r)
}

// imagesOf lists the images of a bake's key that can be used, or will be.
func (p *Platform) imagesOf(ctx context.Context, key string) ([]types.Image, error) {
	found, err := p.findImages(ctx, []string{"self"}, filter("tag:"+tagStack, p.Settings.Stack), filter("tag:"+tagKey, key))
	return inState(found, types.ImageStateAvailable, types.ImageStatePending), err
}

// finishImage waits for an image that another process began, and ends its builder.
func (p *Platform) finishImage(ctx context.Context, r pipeline.BakeRequest, image types.Image) (pipeline.BakedImage, error) {
	id := aws.ToString(image.ImageId)
	logf(r.Log, "image %s of these inputs was begun before", id)
	baked, err := p.awaitImage(ctx, id)
	if err != nil {
		return baked, err
	}
	left, err := p.builders(ctx, filter("tag:"+tagKey, r.Key))
	if err != nil {
		return baked, err
	}
	return baked, p.endBuilders(ctx, left)
}

// bakeAnew makes an image on a builder. The builder ends with the bake; where that
// fails while an image is being made, or this process dies, as Abandon says, or at last
// at its own deadline.
func (p *Platform) bakeAnew(ctx context.Context, r pipeline.BakeRequest) (_ pipeline.BakedImage, err error) {
	if p.Settings.BuilderGroup == "" {
		return pipeline.BakedImage{}, pipeline.Errorf(pipeline.CodeInvalid, opBake, "the stack %q has no security group for builders, which nobody may reach", p.Settings.Stack).
			WithHint("Bring the stack up to date with `penstock bootstrap --region %s --stack %s`.", p.Config.Region, p.Settings.Stack)
	}
	tags := p.tags(r.Labels, map[string]string{
		tagKey: r.Key, tagRun: r.Token, tagRole: roleBuilder, tagExpires: p.Now().Add(builderLife).UTC().Format(time.RFC3339), "Name": "penstock builder of " + r.Name,
	})
	builders, err := p.run(ctx, launch{token: r.Token, image: r.Image, count: 1, userData: userData(builderLife, nil, 0, false), tags: tags, key: r.KMSKey, group: p.Settings.BuilderGroup})
	if err != nil {
		return pipeline.BakedImage{}, err
	}
	builder := aws.ToString(builders[0].InstanceId)
	defer func() {
		if err != nil {
			p.untilListed(ctx, builder)
		}
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		if err == nil {
			err = p.terminate(end, builder)
		} else if failed := p.abandon(end, r.Token, builders); failed != nil {
			p.Logger.Warn("end builder", "instance", builder, "error", failed)
		}
	}()
	logf(r.Log, "builder %s of image %s", builder, r.Image)
	if err := p.commands(ctx, builder, r); err != nil {
		return pipeline.BakedImage{}, err
	}
	if err := p.must(ctx, builder, command{what: "cleaning", script: cleanScript(r.Cleanup), timeout: 10 * time.Minute, log: r.Log}); err != nil {
		return pipeline.BakedImage{}, err
	}
	return p.capture(ctx, builder, r)
}

// refresh has git's index know the times of the files that were unpacked.
const refresh = `if command -v git >/dev/null; then git -C "$root/var/tmp/penstock-source" update-index -q --refresh >/dev/null 2>&1 || :; fi
`

// commands runs the bake's commands on the builder, each in the root of its file
// system, with the source beside it.
func (p *Platform) commands(ctx context.Context, builder string, r pipeline.BakeRequest) error {
	if len(r.Commands) == 0 {
		return nil
	}
	source := ""
	if r.Source != "" {
		s, err := p.sendDir(ctx, r.Source)
		if err != nil {
			return err
		}
		defer p.remove(ctx, s)
		unpack := preamble + fetch("packed", s.url, s.digest, "source.tar.gz") + "mkdir -p \"$root/var/tmp/penstock-source\"\ntar --no-same-owner -xzf \"$packed\" -C \"$root/var/tmp/penstock-source\"\n" + refresh + "rm -rf \"$(dirname \"$packed\")\"\n"
		if err := p.must(ctx, builder, command{what: "copying the source", script: unpack, timeout: 10 * time.Minute, log: r.Log}); err != nil {
			return err
		}
		source = `export PENSTOCK_SOURCE="$root/var/tmp/penstock-source"` + "\n"
	}
	for i, c := range r.Commands {
		what := "step " + cmp.Or(c.Name, fmt.Sprint(i+1))
		logf(r.Log, "%s", what)
		script := preamble + exports(c.Env) + source + "export PENSTOCK_ROOT=\"$root/\"\ncd \"$root/\"\n" + c.Line
		if c.Script != "" {
			script += fmt.Sprintf("\nscript=\"$PENSTOCK_SOURCE\"/%s\nif [ -x \"$script\" ]; then \"$script\"; else /bin/sh -e \"$script\"; fi\n", quote(c.Script))
		}
		if err := p.must(ctx, builder, command{what: what, script: script, timeout: c.Timeout, secrets: c.Secrets, mask: c.Mask, log: r.Log, live: true}); err != nil {
			return err
		}
	}
	return p.must(ctx, builder, command{what: "removing the source", script: preamble + "rm -rf \"$root/var/tmp/penstock-source\"\n", timeout: 10 * time.Minute, log: r.Log})
}

// capture stops an instance and makes its image.
func (p *Platform) capture(ctx context.Context, instance string, r pipeline.BakeRequest) (pipeline.BakedImage, error) {
	if _, err := p.ec2.StopInstances(ctx, &ec2.StopInstancesInput{InstanceIds: []string{instance}}); err != nil {
		return pipeline.BakedImage{}, cloud.Fault(ctx, "stop instance "+instance, err)
	}
	if _, err := p.awaitState(ctx, instance, types.InstanceStateNameStopped, stopLimit); err != nil {
		return pipeline.BakedImage{}, err
	}
	id, err := p.createImage(ctx, instance, r)
	if err != nil {
		return pipeline.BakedImage{}, err
	}
	logf(r.Log, "image %s is being made", id)
	return p.awaitImage(ctx, id)
}

var notInName = regexp.MustCompile(`[^A-Za-z0-9 ()./_-]`)

// maxImageName is the length of the name of an AMI.
const maxImageName = 128

// imageName names the image of a bake. Its end, which is cut from nothing, is unique in
// the account.
func (p *Platform) imageName(r pipeline.BakeRequest) string {
	end := " " + notInName.ReplaceAllString(r.Token, "-")
	name := notInName.ReplaceAllString(fmt.Sprintf("%s %s/%s", p.Settings.Stack, r.Labels.Pipeline, r.Name), "-")
	return cut(name, maxImageName-len(end)) + end
}

// createImage asks for the image. Its name follows from the run: a request whose
// answer was lost is found again by it.
func (p *Platform) createImage(ctx context.Context, instance string, r pipeline.BakeRequest) (string, error) {
	name := p.imageName(r)
	tags := p.tags(r.Labels, map[string]string{tagKey: r.Key, tagRun: r.Token, "Name": r.Labels.Pipeline + " " + r.Name})
	out, err := p.ec2.CreateImage(ctx, &ec2.CreateImageInput{
		InstanceId: aws.String(instance), Name: aws.String(name), Description: aws.String("made by Penstock in run " + r.Token),
		TagSpecifications: []types.TagSpecification{{ResourceType: types.ResourceTypeImage, Tags: tags}, {ResourceType: types.ResourceTypeSnapshot, Tags: tags}},
	})
	if err == nil {
		return aws.ToString(out.ImageId), nil
	}
	if cloud.Is(err, "InvalidAMIName.Duplicate") {
		found, listed := p.findImages(ctx, []string{"self"}, filter("name", name), filter("tag:"+tagStack, p.Settings.Stack), filter("tag:"+tagRun, r.Token))
		if listed == nil && len(found) == 1 {
			return aws.ToString(found[0].ImageId), nil
		}
	}
	return "", cloud.Fault(ctx, opBake, err)
}

// awaitImage waits until an image can be used.
func (p *Platform) awaitImage(ctx context.Context, id string) (baked pipeline.BakedImage, err error) {
	err = p.wait(ctx, "image "+id, imageLimit, func(ctx context.Context) (poll.Probe, error) {
		i, ok, err := p.images.Get(ctx, id)
		if err != nil || !ok { // AWS may not list a new image at once
			return poll.Probe{State: "not listed yet"}, err
		}
		switch i.State {
		case types.ImageStateAvailable:
			baked = describeImage(i)
			return poll.Probe{Done: true}, nil
		case types.ImageStatePending:
			return poll.Probe{State: "pending"}, nil
		}
		why := "AWS gives no reason"
		if i.StateReason != nil {
			why = aws.ToString(i.StateReason.Message)
		}
		return poll.Probe{}, pipeline.Errorf(pipeline.CodeFailed, opBake, "image %s is %s: %s", id, i.State, why)
	})
	return baked, cloud.Fault(ctx, opBake, err)
}

func describeImage(i types.Image) pipeline.BakedImage {
	b := pipeline.BakedImage{ID: aws.ToString(i.ImageId)}
	for _, d := range i.BlockDeviceMappings {
		if d.Ebs != nil {
			b.Size += int64(aws.ToInt32(d.Ebs.VolumeSize)) << 30
		}
	}
	return b
}

// bakeEnvironment makes the image of an environment's first instance, as its
// install left it, or gives the image that the instances were launched from, where
// nothing was installed. The environment does not serve afterwards.
func (p *Platform) bakeEnvironment(ctx context.Context, r pipeline.BakeRequest) (pipeline.BakedImage, error) {
	list, err := p.ofEnvironment(ctx, r.Environment)
	if err != nil {
		return pipeline.BakedImage{}, err
	}
	if len(list) == 0 {
		found, err := p.imagesOf(ctx, r.Key)
		if err == nil && len(found) == 0 {
			err = pipeline.Errorf(pipeline.CodeNotFound, opBake, "environment %s has no instance", r.Environment)
		}
		if err != nil {
			return pipeline.BakedImage{}, err
		}
		return p.awaitImage(ctx, aws.ToString(found[0].ImageId))
	}
	if tag(list[0].Tags, tagInstalled) != "true" {
		image, _, err := p.images.Get(ctx, aws.ToString(list[0].ImageId))
		return describeImage(image), err
	}
	instance := aws.ToString(list[0].InstanceId)
	if s := list[0].State.Name; s == types.InstanceStateNameStopping || s == types.InstanceStateNameStopped { // by a bake that died, after it had cleaned
		return p.capture(ctx, instance, r)
	}
	if err := p.must(ctx, instance, command{what: "cleaning", script: cleanScript(r.Cleanup), timeout: 10 * time.Minute, log: r.Log}); err != nil {
		return pipeline.BakedImage{}, err
	}
	return p.capture(ctx, instance, r)
}

// Abandon ends the builder of a bake that is over, unless an image is being made of it:
// the next bake of the key finishes that, and ends the builder. Should there be none,
// Remains tells of it once the image is made, and a schedule ends it at last: a builder
// that has been stopped has no deadline of its own.
func (p *Platform) Abandon(ctx context.Context, token string) error {
	ctx, err := p.fenced(ctx)
	if err != nil {
		return err
	}
	left, err := p.builders(ctx, filter("tag:"+tagRun, token))
	if err != nil || len(left) == 0 {
		return err
	}
	return p.abandon(ctx, token, left)
}

func (p *Platform) abandon(ctx context.Context, token string, builders []types.Instance) error {
	found, err := p.findImages(ctx, []string{"self"}, filter("tag:"+tagStack, p.Settings.Stack), filter("tag:"+tagRun, token))
	if err != nil {
		return err
	}
	if len(inState(found, types.ImageStatePending)) == 0 {
		return p.endBuilders(ctx, builders)
	}
	return p.schedule(ctx, token, p.Now().Add(imageLimit), ending{kindBuilder, "ec2:terminateInstances", map[string]any{"InstanceIds": idsOf(builders)}})
}

// kindBuilder is the suffix of the schedule that ends a builder.
const kindBuilder = "builder"

// builders lists instances that are there to make images.
func (p *Platform) builders(ctx context.Context, more ...types.Filter) ([]types.Instance, error) {
	return p.list(ctx, append([]types.Filter{filter("tag:"+tagStack, p.Settings.Stack), filter("tag:"+tagRole, roleBuilder), alive}, more...)...)
}

// endBuilders ends builders, and the schedules that would have.
func (p *Platform) endBuilders(ctx context.Context, builders []types.Instance) error {
	if err := p.terminate(ctx, idsOf(builders)...); err != nil {
		return err
	}
	for _, i := range builders {
		if token := tag(i.Tags, tagRun); token != "" {
			if err := p.removeSchedule(ctx, token, kindBuilder); err != nil {
				return err
			}
		}
	}
	return nil
}

// Images lists the images of this installation, also those that are being made.
func (p *Platform) Images(ctx context.Context) ([]pipeline.BakedImage, error) {
	list, err := p.findImages(ctx, []string{"self"}, filter("tag:"+tagStack, p.Settings.Stack))
	if err != nil {
		return nil, err
	}
	images := make([]pipeline.BakedImage, len(list))
	for i, image := range list {
		images[i] = describeImage(image)
	}
	return images, nil
}

// Remains lists the bakes of which a builder is left that makes nothing, and the images
// that have been deregistered and whose snapshots are left: they carry the image's ID
// from when its removal began.
func (p *Platform) Orphans(ctx context.Context) (bakes, images []string, err error) {
	left, err := p.builders(ctx)
	if err != nil {
		return nil, nil, err
	}
	there, err := p.findImages(ctx, []string{"self"}, filter("tag:"+tagStack, p.Settings.Stack))
	if err != nil {
		return nil, nil, err
	}
	busy, known := map[string]bool{}, map[string]bool{}
	for _, i := range there {
		run := tag(i.Tags, tagRun)
		busy[run] = busy[run] || i.State == types.ImageStatePending
		known[aws.ToString(i.ImageId)] = true
	}
	for _, i := range left {
		if token := tag(i.Tags, tagRun); !busy[token] {
			bakes = append(bakes, token)
		}
	}
	marked, err := p.home().snapshots(ctx, filter("tag-key", tagOf))
	for _, s := range marked {
		if of := tag(s.Tags, tagOf); !known[of] {
			images = append(images, of)
		}
	}
	slices.Sort(images)
	return bakes, slices.Compact(images), err
}
