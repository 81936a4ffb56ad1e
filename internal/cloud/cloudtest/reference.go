// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cloudtest

import (
	"cmp"
	"crypto/sha256"
	"encoding/json"
	encoding "encoding/xml"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud/iamtest"
)

// Who uses an image: what of the account references it, and the reports on other accounts.

// recipe is one of Image Builder, which the simulator does not have.
type recipe struct {
	kind   string // "image-recipe" or "container-recipe"
	name   string
	region string
	image  string
}

// AddRecipe makes a recipe of Image Builder, of a kind as ARNs have it, that names an image.
func (c *Cloud) AddRecipe(region, kind, name, image string) {
	a := c.account()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.recipes = append(a.recipes, recipe{kind, name, region, image})
}

// calledVia is what EC2 asks in the name of who asks it for references, by the type of what it
// looks for.
var calledVia = map[string][]string{
	"ec2:Instance":                 {"ec2:DescribeInstances"},
	"ec2:LaunchTemplate":           {"ec2:DescribeLaunchTemplates", "ec2:DescribeLaunchTemplateVersions"},
	"ssm:Parameter":                {"ssm:DescribeParameters", "ssm:GetParameters"},
	"imagebuilder:ImageRecipe":     {"imagebuilder:ListImageRecipes"},
	"imagebuilder:ContainerRecipe": {"imagebuilder:ListContainerRecipes", "imagebuilder:GetContainerRecipe"},
}

// asksReferences returns the calls that IAM judges when references are looked for.
func (n naming) asksReferences() []iamtest.Request {
	calls := one("ec2:DescribeImageReferences")
	named := map[string]string{"ssm:GetParameters": n.arn("ssm", "parameter/any"), "imagebuilder:GetContainerRecipe": n.arn("imagebuilder", "container-recipe/any/1.0.0")}
	for kind := range referenceTypes(n.form) {
		for _, action := range calledVia[kind] {
			call := iamtest.Request{Action: action, Context: map[string][]string{"aws:CalledVia": {"ec2-images.amazonaws.com"}}}
			if arn := named[action]; arn != "" {
				call.Resources = []iamtest.Resource{{ARN: arn}}
			}
			calls = append(calls, call)
		}
	}
	return calls
}

// referenceTypes returns the types of what a request looks for, with their option.
func referenceTypes(form url.Values) map[string][]string {
	asked := map[string][]string{}
	if form.Get("IncludeAllResourceTypes") == "true" {
		for kind := range calledVia {
			asked[kind] = nil
		}
	}
	for n := 1; ; n++ {
		at := fmt.Sprintf("ResourceType.%d.", n)
		kind := form.Get(at + "ResourceType")
		if kind == "" {
			return asked
		}
		asked[kind] = numbered(form, at+"ResourceTypeOption.1.OptionValue")
	}
}

// reference is what EC2 says of one.
type reference struct{ kind, arn, image string }

// describeReferences answers DescribeImageReferences, a few at a time.
func (a imageAPI) describeReferences(r *request) answer {
	asked := referenceTypes(r.form)
	if len(asked) == 0 {
		return r.fail(http.StatusBadRequest, "MissingParameter", "Either IncludeAllResourceTypes or ResourceTypes must be specified.")
	}
	n := naming{r, a.account}
	var found []reference
	for _, image := range numbered(r.form, "ImageId") {
		for kind, option := range asked {
			for _, arn := range a.referencing(n, kind, image, option) {
				found = append(found, reference{kind, arn, image})
			}
		}
	}
	slices.SortFunc(found, func(x, y reference) int { return cmp.Compare(x.arn, y.arn) })
	from, _ := strconv.Atoi(r.form.Get("NextToken"))
	most, err := strconv.Atoi(r.form.Get("MaxResults"))
	if err != nil {
		most = 5
	}
	next := ""
	if from+most < len(found) {
		next = fmt.Sprintf("<nextToken>%d</nextToken>", from+most)
	}
	var items strings.Builder
	for _, f := range found[min(from, len(found)):min(from+most, len(found))] {
		fmt.Fprintf(&items, "<item><arn>%s</arn><imageId>%s</imageId><resourceType>%s</resourceType></item>", escape(f.arn), f.image, f.kind)
	}
	return xml(http.StatusOK, `<DescribeImageReferencesResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><requestId>test</requestId><imageReferenceSet>`+items.String()+`</imageReferenceSet>`+next+`</DescribeImageReferencesResponse>`)
}

// referencing returns the ARNs of what of a type references an image in the region.
func (a imageAPI) referencing(n naming, kind, image string, option []string) (arns []string) {
	switch kind {
	case "ec2:Instance":
		for id, state := range a.launchedFrom(image) {
			if len(option) == 0 || slices.Contains(option, state) {
				arns = append(arns, n.arn("ec2", "instance/"+id))
			}
		}
	case "ec2:LaunchTemplate":
		depth := 10
		if len(option) > 0 {
			depth, _ = strconv.Atoi(option[0])
		}
		for _, id := range a.templatesWith(n.request, image, depth) {
			arns = append(arns, n.arn("ec2", "launch-template/"+id))
		}
	case "ssm:Parameter":
		for _, name := range n.parametersWith(image) {
			arns = append(arns, n.arn("ssm", "parameter/"+strings.TrimPrefix(name, "/")))
		}
	default:
		a.mu.Lock()
		defer a.mu.Unlock()
		for _, made := range a.recipes {
			if made.image == image && made.region == n.region && strings.EqualFold("imagebuilder:"+strings.ReplaceAll(made.kind, "-", ""), kind) {
				arns = append(arns, n.arn("imagebuilder", made.kind+"/"+made.name+"/1.0.0"))
			}
		}
	}
	return arns
}

// launchedFrom returns the states of the account's instances of an image, by their IDs.
func (a *account) launchedFrom(image string) map[string]string {
	a.mu.Lock()
	var list []*instance
	for _, i := range a.instances {
		if i.image == image {
			list = append(list, i)
		}
	}
	a.mu.Unlock()
	states := map[string]string{}
	for _, i := range list {
		i.mu.Lock()
		terminated := i.terminated
		i.mu.Unlock()
		states[i.id] = map[bool]string{true: "terminated", false: cmp.Or(i.state(), "running")}[terminated]
	}
	return states
}

// templatesWith returns the IDs of the launch templates in the region of which one of the newest
// versions has an image.
func (a *account) templatesWith(r *request, image string, depth int) (ids []string) {
	listed := a.query(r, "ec2", "DescribeLaunchTemplates", url.Values{})
	for _, m := range templates.FindAllSubmatch(listed.body, -1) {
		var all struct {
			Versions []struct {
				Number int    `xml:"versionNumber"`
				Image  string `xml:"launchTemplateData>imageId"`
			} `xml:"launchTemplateVersionSet>item"`
		}
		got := a.query(r, "ec2", "DescribeLaunchTemplateVersions", url.Values{"LaunchTemplateId": {string(m[1])}})
		if err := encoding.Unmarshal(a.undeleted(a.lentVersions(got.body)), &all); err != nil {
			a.cloud.logf("versions of launch templates: %v", err)
		}
		newest := 0
		for _, v := range all.Versions {
			newest = max(newest, v.Number)
		}
		for _, v := range all.Versions {
			if v.Image == image && v.Number > newest-depth {
				ids = append(ids, string(m[1]))
				break
			}
		}
	}
	return ids
}

// parametersWith returns the names of the region's parameters for images that say an image.
func (n naming) parametersWith(image string) (names []string) {
	var listed struct {
		Parameters []struct{ Name, DataType string }
	}
	n.askSSM("DescribeParameters", map[string]any{"MaxResults": 50}, &listed)
	for _, p := range listed.Parameters {
		var got struct{ Parameter struct{ Value string } }
		if p.DataType == imageType && n.askSSM("GetParameter", map[string]any{"Name": p.Name}, &got) && got.Parameter.Value == image {
			names = append(names, p.Name)
		}
	}
	return names
}

// report is one on the accounts that use an image.
type report struct {
	image, region string
	made, ready   time.Time
	failed        string
	tags          map[string]string
	entries       string
}

// FailReports makes reports on other accounts end as failed, for a reason; an empty one ends that.
func (c *Cloud) FailReports(reason string) {
	a := c.account()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.unreported = reason
}

// Reports returns how many reports on other accounts there are in the account.
func (c *Cloud) Reports() int {
	a := c.account()
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.reports)
}

// usageReports answers the calls for reports on what other accounts have of an image.
func (a imageAPI) usageReports(r *request) answer {
	head := fmt.Sprintf(`<%sResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><requestId>test</requestId>`, r.action)
	tail := fmt.Sprintf("</%sResponse>", r.action)
	switch r.action {
	case "CreateImageUsageReport":
		return a.createReport(r, head, tail)
	case "DeleteImageUsageReport":
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.reports[r.form.Get("ReportId")] == nil {
			return r.fail(http.StatusBadRequest, "InvalidImageUsageReportId.NotFound", "There is no such report")
		}
		delete(a.reports, r.form.Get("ReportId"))
		return xml(http.StatusOK, head+"<return>true</return>"+tail)
	}
	images, ids, tag := numbered(r.form, "ImageId"), numbered(r.form, "ReportId"), r.form.Get("Filter.1.Name")
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, id := range ids {
		if a.reports[id] == nil {
			return r.fail(http.StatusBadRequest, "InvalidImageUsageReportId.NotFound", "There is no report "+id)
		}
	}
	var items, entries strings.Builder
	for id, made := range a.reports {
		if made.region != r.region || len(images) > 0 && !slices.Contains(images, made.image) || len(ids) > 0 && !slices.Contains(ids, id) ||
			tag != "" && made.tags[strings.TrimPrefix(tag, "tag:")] != r.form.Get("Filter.1.Value.1") {
			continue
		}
		state := "available"
		switch {
		case time.Now().Before(made.ready):
			state = "pending"
		case made.failed != "":
			state = "error"
		default:
			entries.WriteString(strings.ReplaceAll(made.entries, "REPORT", id))
		}
		var tags strings.Builder
		for key, value := range made.tags {
			fmt.Fprintf(&tags, "<item><key>%s</key><value>%s</value></item>", escape(key), escape(value))
		}
		fmt.Fprintf(&items, "<item><reportId>%s</reportId><imageId>%s</imageId><state>%s</state><stateReason>%s</stateReason><creationTime>%s</creationTime><tagSet>%s</tagSet></item>",
			id, made.image, state, escape(made.failed), made.made.UTC().Format(time.RFC3339), tags.String())
	}
	if r.action == "DescribeImageUsageReports" {
		return xml(http.StatusOK, head+"<imageUsageReportSet>"+items.String()+"</imageUsageReportSet>"+tail)
	}
	return xml(http.StatusOK, head+"<imageUsageReportEntrySet>"+entries.String()+"</imageUsageReportEntrySet>"+tail)
}

// createReport begins a report on one of the account's images.
func (a imageAPI) createReport(r *request, head, tail string) answer {
	id, token := r.form.Get("ImageId"), "report "+r.region+" "+r.form.Get("ClientToken")
	digest := fmt.Sprintf("%x", sha256.Sum256([]byte(r.form.Encode())))
	if found := a.query(r, "ec2", "DescribeImages", url.Values{"ImageId.1": {id}, "Owner.1": {"self"}}); !strings.Contains(string(found.body), id) {
		return r.fail(http.StatusBadRequest, "InvalidAMIID.NotFound", "The image id '["+id+"]' does not exist")
	}
	depth := 20
	if asked := referenceTypes(r.form)["ec2:LaunchTemplate"]; len(asked) > 0 {
		depth, _ = strconv.Atoi(asked[0])
	}
	var entries strings.Builder
	for _, other := range a.server.others(a.account) {
		n := 0
		for _, state := range other.launchedFrom(id) {
			if state != "terminated" {
				n++
			}
		}
		for kind, n := range map[string]int{"ec2:Instance": n, "ec2:LaunchTemplate": len(other.templatesWith(r, id, depth))} {
			if n > 0 {
				fmt.Fprintf(&entries, "<item><reportId>REPORT</reportId><imageId>%s</imageId><resourceType>%s</resourceType><accountId>%s</accountId><usageCount>%d</usageCount></item>", id, kind, other.cloud.ID, n)
			}
		}
	}
	_, tags := tagsFor(r.form, "image-usage-report")
	a.mu.Lock()
	defer a.mu.Unlock()
	if before, repeated := a.launches[token]; repeated {
		if before.digest != digest {
			return mismatch(r)
		}
		return before.answer
	}
	for _, other := range a.reports { // AWS's reference lists no code for it
		if other.image == id && other.region == r.region && time.Now().Before(other.ready) {
			return r.fail(http.StatusBadRequest, "ImageUsageReportLimitExceeded", "There is a pending report on image "+id+", and there can be one at a time")
		}
	}
	a.reported++
	made := fmt.Sprintf("amiur-%017d", a.reported)
	now := time.Now()
	a.reports[made] = &report{id, r.region, now, now.Add(a.cloud.paced().Report), a.unreported, pairs(tags, "Tag"), entries.String()}
	got := xml(http.StatusOK, head+"<reportId>"+made+"</reportId>"+tail)
	a.launches[token] = launch{digest, got}
	return got
}

// reportNamed returns a report with its tags, as IAM sees it.
func (n naming) reportNamed(id string) iamtest.Resource {
	n.a.mu.Lock()
	defer n.a.mu.Unlock()
	of := iamtest.Resource{ARN: fmt.Sprintf("arn:aws:ec2:%s:%s:image-usage-report/%s", n.region, n.a.cloud.ID, id)}
	if made := n.a.reports[id]; made != nil {
		of.Tags = made.tags
	}
	return of
}

// askSSM makes a request of the proxy's own to moto's Parameter Store.
func (n naming) askSSM(action string, in, out any) bool {
	body, err := json.Marshal(in)
	if err != nil {
		panic(err) // only plain values are given
	}
	got := n.a.server.forward(n.ownJSON("ssm", "AmazonSSM."+action, action, body))
	return got.status == http.StatusOK && json.Unmarshal(got.body, out) == nil
}

// FinishReports makes the reports that are pending available.
func (c *Cloud) FinishReports() {
	a := c.account()
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, made := range a.reports {
		made.ready = time.Time{}
	}
}

// RemoveRecipes removes the recipes of Image Builder.
func (c *Cloud) RemoveRecipes() {
	a := c.account()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.recipes = nil
}
