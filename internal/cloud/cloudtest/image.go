// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cloudtest

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// image is what moto does not know of an image.
type image struct {
	name      string // empty for a copy, whose name is unique in its own region, and for one that is gone
	region    string
	available time.Time
	failed    string // why it is failed instead
	protected bool
	deprecate string
	outdated  bool            // another account owns it, and has deprecated it
	shared    map[string]bool // accounts that may launch it
	data      string          // elements of further volumes in its mapping
}

var (
	imageItem  = regexp.MustCompile(`(?s)<imageId>(ami-[0-9a-f]+)</imageId>.*?</imageState>`)
	imageState = regexp.MustCompile(`<imageState>[a-z]+`)

	snapshotSet = regexp.MustCompile(`(?s)<snapshotSet>(.*)</snapshotSet>`)
)

// imageAPI are the images of an account, and their snapshots: a part of EC2.
type imageAPI struct{ *account }

// changeImage changes what is known of an image.
func (a imageAPI) changeImage(id string, change func(*image)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	i := a.images[id]
	change(&i)
	a.images[id] = i
}

// copyImage honours client tokens and tags, which moto does not.
func (a imageAPI) copyImage(r *request) answer {
	a.copying.Lock() // so that equal tokens meet
	defer a.copying.Unlock()
	token := r.form.Get("ClientToken") + " " + r.region
	a.mu.Lock()
	before, repeated := a.launches[token]
	a.mu.Unlock()
	digest := fmt.Sprintf("%x", sha256.Sum256([]byte(r.form.Encode())))
	if within := r.form.Get("SnapshotCopyCompletionDurationMinutes"); within != "" {
		if minutes, err := strconv.Atoi(within); err != nil || minutes < 15 || minutes > 48*60 || minutes%15 != 0 {
			return r.fail(http.StatusBadRequest, "InvalidParameterValue", "The completion duration must be from 15 to 2880 minutes, in 15 minute increments")
		}
	}
	switch {
	case repeated && before.digest != digest:
		return mismatch(r)
	case repeated:
		return before.answer
	}
	form, tags := url.Values{}, map[string]url.Values{"image": {}, "snapshot": {}}
	for k, v := range r.form {
		parts := strings.SplitN(k, ".", 3)
		if parts[0] != "TagSpecification" {
			form[k] = v
		} else if kind := r.form.Get("TagSpecification." + parts[1] + ".ResourceType"); strings.HasPrefix(parts[2], "Tag.") {
			tags[kind][parts[2]] = v
		}
	}
	got := a.query(r, "ec2", "CopyImage", form)
	m := imageIDs.FindSubmatch(got.body)
	if got.status != http.StatusOK || m == nil {
		return got
	}
	id := string(m[1])
	if err := copyFiles(filepath.Join(a.dir, "images", id), filepath.Join(a.dir, "images", r.form.Get("SourceImageId"))); err != nil {
		a.cloud.logf("copy the files of image %s: %v", id, err)
	}
	failed := ""
	if key := r.form.Get("KmsKeyId"); key != "" {
		if state, _ := (naming{r, a.account}).state(key); state != "Enabled" {
			failed = "Given key ID is not accessible"
		}
	}
	takes := a.cloud.paced().Image
	a.mu.Lock()
	if own, set := a.copyPace[r.region]; set {
		takes = own
	}
	failed = cmp.Or(failed, a.copyFailing[r.region])
	a.mu.Unlock()
	a.changeImage(id, func(i *image) { i.region, i.available, i.failed = r.region, time.Now().Add(takes), failed })
	tags["image"].Set("ResourceId.1", id)
	a.query(r, "ec2", "CreateTags", tags["image"])
	described := a.query(r, "ec2", "DescribeImages", url.Values{"ImageId.1": {id}})
	for _, s := range snapshotIDs.FindAllSubmatch(described.body, -1) {
		tags["snapshot"].Set("ResourceId.1", string(s[1]))
		a.query(r, "ec2", "CreateTags", tags["snapshot"])
		a.encrypt(r, string(s[1]), r.form.Get("KmsKeyId"))
	}
	a.mu.Lock()
	a.launches[token] = launch{digest, got}
	a.mu.Unlock()
	return got
}

// SetCopyTime sets how long copies to a region take that begin from now on.
func (c *Cloud) SetCopyTime(region string, takes time.Duration) {
	a := c.account()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.copyPace[region] = takes
}

// FailCopies makes the copies to a region that begin from now on end as failed, for a reason; an
// empty one ends that.
func (c *Cloud) FailCopies(region, reason string) {
	a := c.account()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.copyFailing[region] = reason
}

// CompleteImages makes the images that are pending available.
func (c *Cloud) CompleteImages() {
	a := c.account()
	a.mu.Lock()
	defer a.mu.Unlock()
	for id, i := range a.images {
		i.available = time.Time{}
		a.images[id] = i
	}
}

// FailImages makes the images that are made from now on end as failed, for a reason; an
// empty one ends that.
func (c *Cloud) FailImages(reason string) {
	a := c.account()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.failing = reason
}

// Deprecate makes an image one that its owner, another account, has deprecated.
func (c *Cloud) Deprecate(id string) {
	imageAPI{c.account()}.changeImage(id, func(i *image) { i.outdated = true })
}

// describeImages shows images that are not available yet, what moto does not know of
// them, and those of other accounts that are shared with this one. Those that others
// have deprecated it shows to who asks for such alone.
func (a imageAPI) describeImages(r *request) answer {
	form := url.Values{}
	for k, v := range r.form {
		form[k] = v
		a.mu.Lock()
		hidden := a.images[v[0]].outdated && r.form.Get("IncludeDeprecated") != "true"
		a.mu.Unlock()
		if hidden {
			form.Set(k, "ami-ffffffffffffffff0")
		}
	}
	got := a.query(r, "ec2", "DescribeImages", form)
	got.body = []byte(a.withVolumes(string(a.mendImages(got.body))))
	for id := range asked(r.form) {
		for _, other := range a.server.others(a.account) {
			other.mu.Lock()
			shared := other.images[id].shared[a.cloud.ID] && other.images[id].region == r.region
			other.mu.Unlock()
			if !shared || strings.Contains(string(got.body), "<imageId>"+id+"</imageId>") {
				continue
			}
			theirs := other.query(r, "ec2", "DescribeImages", url.Values{"ImageId.1": {id}})
			_, items, ok := strings.Cut(string(imageAPI{other}.mendImages(theirs.body)), "<imagesSet>")
			items, _, _ = strings.Cut(items, "</imagesSet>")
			if ok {
				body := strings.Replace(string(got.body), "<imagesSet/>", "<imagesSet></imagesSet>", 1)
				got.body = []byte(strings.Replace(body, "</imagesSet>", items+"</imagesSet>", 1))
			}
		}
	}
	return got
}

// asked returns the images that a request names.
func asked(form url.Values) map[string]bool {
	ids := map[string]bool{}
	for k, v := range form {
		if strings.HasPrefix(k, "ImageId.") || strings.HasPrefix(k, "Filter.") && strings.HasPrefix(v[0], "ami-") {
			ids[v[0]] = true
		}
	}
	return ids
}

// others returns the other tests' accounts.
func (s *server) others(a *account) (list []*account) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, other := range s.accounts {
		if other != a {
			list = append(list, other)
		}
	}
	return list
}

func (a imageAPI) mendImages(body []byte) []byte {
	return imageItem.ReplaceAllFunc(body, func(item []byte) []byte {
		a.mu.Lock()
		defer a.mu.Unlock()
		known := a.images[string(imageIDs.FindSubmatch(item)[1])]
		reason := ""
		switch {
		case time.Now().Before(known.available):
			item = imageState.ReplaceAll(item, []byte("<imageState>pending"))
		case known.failed != "":
			item = imageState.ReplaceAll(item, []byte("<imageState>failed"))
			reason = "<stateReason><code>Server.InternalError</code><message>" + escape(known.failed) + "</message></stateReason>"
		}
		protection := map[bool]string{true: "enabled-without-cooldown", false: "disabled"}[known.protected]
		more := "<deregistrationProtection>" + protection + "</deregistrationProtection>"
		if known.deprecate != "" {
			more += "<deprecationTime>" + known.deprecate + "</deprecationTime>"
		}
		return append(bytes.Clone(item), reason+more...)
	})
}

// AddVolume gives the mapping of an image a data volume, which outlives its instance and is
// not encrypted.
func (c *Cloud) AddVolume(id, device, snapshot string, gigabytes int) {
	imageAPI{c.account()}.changeImage(id, func(i *image) {
		i.data += fmt.Sprintf("<item><deviceName>%s</deviceName><ebs><snapshotId>%s</snapshotId><volumeSize>%d</volumeSize>"+
			"<deleteOnTermination>false</deleteOnTermination><volumeType>gp2</volumeType><encrypted>false</encrypted></ebs></item>", device, snapshot, gigabytes)
	})
}

// withVolumes puts the further volumes of images into their mappings.
func (a imageAPI) withVolumes(body string) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	for id, known := range a.images {
		at := strings.Index(body, "<imageId>"+id+"</imageId>")
		if known.data == "" || at < 0 {
			continue
		}
		if end := strings.LastIndex(body[:at], "</blockDeviceMapping>"); end >= 0 { // the elements are sorted by name
			body = body[:end] + known.data + body[end:]
		}
	}
	return body
}

// guardImage answers the calls for deprecation and protection.
func (a imageAPI) guardImage(r *request) answer {
	if at, err := time.Parse(time.RFC3339, r.form.Get("DeprecateAt")); err == nil && at.Before(time.Now()) {
		return r.fail(http.StatusBadRequest, "InvalidParameterValue", "The deprecation date is in the past.")
	}
	a.changeImage(r.form.Get("ImageId"), func(i *image) {
		switch r.action {
		case "EnableImageDeprecation":
			i.deprecate = r.form.Get("DeprecateAt")
		case "DisableImageDeprecation":
			i.deprecate = ""
		case "EnableImageDeregistrationProtection":
			i.protected = true
		case "DisableImageDeregistrationProtection":
			i.protected = false
		}
	})
	return xml(http.StatusOK, fmt.Sprintf(`<%sResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><requestId>test</requestId><return>true</return></%[1]sResponse>`, r.action))
}

// deregisterImage refuses it for an image that is protected. The name is free then.
func (a imageAPI) deregisterImage(r *request) answer {
	id := r.form.Get("ImageId")
	a.mu.Lock()
	protected := a.images[id].protected
	a.mu.Unlock()
	if protected {
		return r.fail(http.StatusBadRequest, "OperationNotPermitted", "The image is protected against deregistration.")
	}
	a.removal.Lock()
	defer a.removal.Unlock()
	got := a.server.forward(r)
	if got.status == http.StatusOK {
		a.changeImage(id, func(i *image) { i.name = "" })
	}
	return got
}

// describeImageAttribute knows images that are gone, at which moto stumbles.
func (a imageAPI) describeImageAttribute(r *request) answer {
	id := r.form.Get("ImageId")
	a.removal.RLock() // none goes between the two requests
	defer a.removal.RUnlock()
	if found := a.query(r, "ec2", "DescribeImages", url.Values{"ImageId.1": {id}}); found.status != http.StatusOK || !strings.Contains(string(found.body), id) {
		return r.fail(http.StatusBadRequest, "InvalidAMIID.NotFound", "The image id '["+id+"]' does not exist")
	}
	return a.server.forward(r)
}

// modifyImageAttribute remembers the accounts that an image is shared with.
func (a imageAPI) modifyImageAttribute(r *request) answer {
	if id := r.form.Get("ImageId"); permissions(r.form, "LaunchPermission.Add.") > 0 {
		var snapshots []string
		for _, s := range snapshotIDs.FindAllSubmatch(a.query(r, "ec2", "DescribeImages", url.Values{"ImageId.1": {id}}).body, -1) {
			snapshots = append(snapshots, string(s[1]))
		}
		if refused, ok := a.unshareable(r, snapshots...); ok {
			return refused
		}
	}
	got := a.server.forward(r)
	if got.status != http.StatusOK {
		return got
	}
	a.changeImage(r.form.Get("ImageId"), func(i *image) { i.shared = changed(i.shared, r.form, "LaunchPermission") })
	return got
}

// permissions counts what a form says of permissions below a name.
func permissions(form url.Values, below string) (n int) {
	for k := range form {
		if strings.HasPrefix(k, below) {
			n++
		}
	}
	return n
}

// changed returns the accounts that have a permission after a request that adds or removes some.
func changed(with map[string]bool, form url.Values, permission string) map[string]bool {
	with = maps.Clone(with)
	if with == nil {
		with = map[string]bool{}
	}
	for k, v := range form {
		if !strings.HasSuffix(k, ".UserId") {
			continue
		}
		if strings.HasPrefix(k, permission+".Add.") {
			with[v[0]] = true
		} else if strings.HasPrefix(k, permission+".Remove.") {
			delete(with, v[0])
		}
	}
	return with
}

// defaultKeyAlias names the key of AWS by which EBS encrypts where nothing else is said.
const defaultKeyAlias = "alias/aws/ebs"

// encrypt remembers the key of a snapshot: its ARN, by whatever the request names it, and the
// account's default where it names none.
func (a *account) encrypt(r *request, snapshot, key string) {
	a.mu.Lock()
	key = cmp.Or(key, a.defaultKey, defaultKeyAlias)
	a.mu.Unlock()
	if !strings.Contains(key, ":key/") {
		if _, arn := (naming{r, a}).state(key); arn != "" {
			key = arn
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.keys[snapshot] = key
}

// unshareable refuses to share snapshots whose key is the default of AWS.
func (a *account) unshareable(r *request, snapshots ...string) (answer, bool) {
	for _, s := range snapshots {
		a.mu.Lock()
		key := a.keys[s]
		a.mu.Unlock()
		if key != "" && slices.ContainsFunc((naming{r, a}).key(key).Context["kms:ResourceAliases"], ofAWS) {
			return r.fail(http.StatusBadRequest, "OperationNotPermitted", "Encrypted snapshots with EBS default key cannot be shared"), true
		}
	}
	return answer{}, false
}

// describeSnapshots returns the keys, which moto forgets, and the snapshots that another
// account shares, where they are asked for by their IDs.
func (a imageAPI) describeSnapshots(r *request) answer {
	form, theirs := url.Values{}, map[*account]url.Values{}
	for k, v := range r.form {
		of := a.lentBy(v[0])
		switch {
		case !strings.HasPrefix(k, "SnapshotId.") || of == nil:
			form[k] = v
		case theirs[of] == nil:
			theirs[of] = url.Values{"SnapshotId.1": v}
		default:
			theirs[of].Set(fmt.Sprintf("SnapshotId.%d", len(theirs[of])+1), v[0])
		}
	}
	if len(theirs) == 0 {
		return a.withKeys(a.server.forward(r))
	}
	got := answer{}
	items := ""
	if len(numbered(renumbered(form, "SnapshotId"), "SnapshotId")) > 0 {
		if got = a.withKeys(a.query(r, "ec2", "DescribeSnapshots", renumbered(form, "SnapshotId"))); got.status != http.StatusOK {
			return got
		}
		items += string(snapshotSet.FindSubmatch(got.body)[1])
	}
	for of, form := range theirs {
		if got = (imageAPI{of}).withKeys(of.query(r, "ec2", "DescribeSnapshots", form)); got.status != http.StatusOK {
			return got
		}
		items += string(snapshotSet.FindSubmatch(got.body)[1])
	}
	got.body = snapshotSet.ReplaceAllLiteral(got.body, []byte("<snapshotSet>"+items+"</snapshotSet>"))
	return got
}

// lentBy returns the account that shares a snapshot with this one; nil for none.
func (a imageAPI) lentBy(id string) *account {
	for _, other := range a.server.others(a.account) {
		other.mu.Lock()
		lent := other.snapshots[id][a.cloud.ID]
		other.mu.Unlock()
		if lent {
			return other
		}
	}
	return nil
}

// renumbered returns a form whose list of a name has no gaps.
func renumbered(form url.Values, name string) url.Values {
	out, n := url.Values{}, 0
	for _, k := range slices.Sorted(maps.Keys(form)) {
		if strings.HasPrefix(k, name+".") {
			n++
			out[fmt.Sprintf("%s.%d", name, n)] = form[k]
			continue
		}
		out[k] = form[k]
	}
	return out
}

// withKeys puts the keys of snapshots into an answer.
func (a imageAPI) withKeys(got answer) answer {
	got.body = snapshotIDs.ReplaceAllFunc(got.body, func(b []byte) []byte {
		a.mu.Lock()
		defer a.mu.Unlock()
		if key := a.keys[string(snapshotIDs.FindSubmatch(b)[1])]; key != "" {
			return append(bytes.Clone(b), "<kmsKeyId>"+key+"</kmsKeyId>"...)
		}
		return b
	})
	return got
}

// modifySnapshotAttribute changes the permissions of a snapshot, which moto mixes up. AWS adds
// some or removes some in one request, and not more than 500.
func (a imageAPI) modifySnapshotAttribute(r *request) answer {
	const permission = "CreateVolumePermission"
	id, add, remove := r.form.Get("SnapshotId"), permissions(r.form, permission+".Add."), permissions(r.form, permission+".Remove.")
	switch {
	case add > 0 && remove > 0:
		return r.fail(http.StatusBadRequest, "InvalidParameterCombination", "Permissions can be added or removed, but not both in one request")
	case add+remove > 500:
		return r.fail(http.StatusBadRequest, "InvalidParameterValue", "At most 500 permissions can be modified in one request")
	case add > 0:
		if refused, ok := a.unshareable(r, id); ok {
			return refused
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.snapshots[id] = changed(a.snapshots[id], r.form, permission)
	return xml(http.StatusOK, `<ModifySnapshotAttributeResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><requestId>test</requestId><return>true</return></ModifySnapshotAttributeResponse>`)
}

// describeSnapshotAttribute returns the permissions of a snapshot.
func (a imageAPI) describeSnapshotAttribute(r *request) answer {
	id := r.form.Get("SnapshotId")
	a.mu.Lock()
	defer a.mu.Unlock()
	var b strings.Builder
	for account := range a.snapshots[id] {
		fmt.Fprintf(&b, "<item><userId>%s</userId></item>", account)
	}
	return xml(http.StatusOK, `<DescribeSnapshotAttributeResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><requestId>test</requestId><snapshotId>`+id+`</snapshotId><createVolumePermission>`+b.String()+`</createVolumePermission></DescribeSnapshotAttributeResponse>`)
}

var templateData = regexp.MustCompile(`(?s)<launchTemplateData>.*?</launchTemplateData>\s*<launchTemplateId>(lt-[0-9a-f]+)<`)

// describeLaunchTemplateVersions returns versions with the images that others share, which moto
// does not know.
func (a *account) describeLaunchTemplateVersions(r *request) answer {
	got := a.server.forward(r)
	got.body = a.lentVersions(got.body)
	return got
}

// lentVersions puts the images that others share back into templates.
func (a *account) lentVersions(body []byte) []byte {
	return templateData.ReplaceAllFunc(body, func(data []byte) []byte {
		a.mu.Lock()
		image := a.templates[string(templateData.FindSubmatch(data)[1])].image
		a.mu.Unlock()
		if image == "" || a.sharedBy("", image) == nil {
			return data
		}
		return bytes.ReplaceAll(data, []byte("<imageId>"+BaseImage+"<"), []byte("<imageId>"+image+"<"))
	})
}
