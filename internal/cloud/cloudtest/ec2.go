// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cloudtest

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

var (
	instanceID   = regexp.MustCompile(`<instanceId>(i-[0-9a-f]+)</instanceId>`)
	stateElement = regexp.MustCompile(`(?s)<instanceState>.*?</instanceState>`)
	stateReason  = regexp.MustCompile(`(?s)<stateReason>.*?</stateReason>`)
	privateIP    = regexp.MustCompile(`<privateIpAddress>[^<]*</privateIpAddress>`)
	publicIP     = regexp.MustCompile(`<ipAddress>[^<]*</ipAddress>`)
	imageIDs     = regexp.MustCompile(`<imageId>(ami-[0-9a-f]+)</imageId>`)
	interfaceIDs = regexp.MustCompile(`<networkInterfaceId>(eni-[0-9a-f]+)</networkInterfaceId>`)
	snapshotIDs  = regexp.MustCompile(`<snapshotId>(snap-[0-9a-f]+)</snapshotId>`)
)

// runInstances honours client tokens and the tags of network interfaces, which moto does
// not, and makes the bodies.
func (a *account) runInstances(r *request) answer {
	token := r.form.Get("ClientToken")
	digest := fmt.Sprintf("%x", sha256.Sum256([]byte(r.form.Encode())))
	a.mu.Lock()
	before, repeated := a.launches[token]
	a.mu.Unlock()
	if repeated && token != "" {
		if before.digest != digest {
			return mismatch(r)
		}
		if i := a.instance(string(instanceID.FindSubmatch(before.answer.body)[1])); i != nil && i.gone() {
			return r.fail(http.StatusBadRequest, "IdempotentInstanceTerminated", "The request to launch an instance uses the same client token as a previous request for which the instance has been terminated.")
		}
		return before.answer
	}
	if text, err := base64.StdEncoding.DecodeString(r.form.Get("UserData")); err == nil && len(text) > maxUserData {
		return r.fail(http.StatusBadRequest, "InvalidParameterValue", "User data is limited to 16384 bytes")
	}
	if code, message := a.refused(r); code != "" {
		return r.fail(http.StatusBadRequest, code, message)
	}
	image, err := a.resolved(r, r.form.Get("ImageId"))
	if err != nil {
		return r.fail(http.StatusBadRequest, "InvalidParameterValue", err.Error())
	}
	if image != r.form.Get("ImageId") {
		r.form.Set("ImageId", image)
		r.body = []byte(r.form.Encode())
	}
	if code, message := a.unready(r, image); code != "" {
		return r.fail(http.StatusBadRequest, code, message)
	}
	got := a.run(r)
	if got.status != http.StatusOK {
		return got
	}
	unusable, why := a.unusable(r)
	for _, m := range instanceID.FindAllSubmatch(got.body, -1) {
		i := a.launched(r.region, string(m[1]), r.form.Get("ImageId"), r.form.Get("UserData"), r.form.Get("InstanceInitiatedShutdownBehavior") != "terminate")
		i.key = naming{r, a}.volumeKey(r.form)
		i.encrypts = i.key != "" || r.form.Get("BlockDeviceMapping.1.Ebs.Encrypted") == "true"
		if unusable != "" {
			a.cloud.logf("instance %s can't use its key: %v", i.id, why)
			a.query(r, "ec2", "TerminateInstances", url.Values{"InstanceId.1": {i.id}})
			i.fail(unusable, reasonText[unusable])
		}
	}
	if _, tags := tagsFor(r.form, "network-interface"); len(tags) > 0 {
		for n, m := range interfaceIDs.FindAllSubmatch(got.body, -1) {
			tags.Set(fmt.Sprintf("ResourceId.%d", n+1), string(m[1]))
		}
		a.query(r, "ec2", "CreateTags", tags)
	}
	got.body = a.mendInstances(got.body)
	if token != "" {
		a.mu.Lock()
		a.launches[token] = launch{digest, got}
		a.mu.Unlock()
	}
	return got
}

// unready says why an image can't be launched in the region of a request: another account owns
// it and does not share it, it is of another region, or it is not available.
func (a *account) unready(r *request, image string) (code, message string) {
	for _, of := range append(a.server.others(a), a) {
		of.mu.Lock()
		i, known := of.images[image]
		of.mu.Unlock()
		switch {
		case !known:
		case i.region != r.region || of != a && !i.shared[a.cloud.ID]:
			return "InvalidAMIID.NotFound", "The image id '[" + image + "]' does not exist"
		case time.Now().Before(i.available) || i.failed != "":
			return "InvalidAMIID.Unavailable", "The image ID '" + image + "' is not available"
		}
	}
	return "", ""
}

// arm are the types of instances whose processors are Graviton.
var arm = regexp.MustCompile(`^([a-z]+[0-9]+g[a-z]*|a1)\.`)

// architecture is that of an image in an answer.
var architecture = regexp.MustCompile(`<architecture>([^<]+)<`)

// refused says why EC2 can't launch: the subnet lacks capacity, or the image is of another
// architecture than the type of instances.
func (a *account) refused(r *request) (code, message string) {
	subnet := r.form.Get("NetworkInterface.1.SubnetId")
	a.mu.Lock()
	code = a.lacking[subnet]
	a.mu.Unlock()
	if code != "" {
		return code, "We currently do not have sufficient capacity in the Availability Zone of " + subnet + "."
	}
	kind := "x86_64"
	if arm.MatchString(r.form.Get("InstanceType")) {
		kind = "arm64"
	}
	found := a.query(r, "ec2", "DescribeImages", url.Values{"ImageId.1": {r.form.Get("ImageId")}})
	if of := architecture.FindSubmatch(found.body); of != nil && string(of[1]) != kind {
		return "InvalidParameterValue", fmt.Sprintf("The architecture '%s' of the specified instance type does not match the architecture '%s' of the specified AMI. "+
			"Specify an instance type and an AMI that have matching architectures, and try again.", kind, of[1])
	}
	return "", ""
}

// Lack makes EC2 refuse instances in subnets with an error code; an empty one takes them.
func (c *Cloud) Lack(code string, subnets ...string) {
	a := c.account()
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, s := range subnets {
		if a.lacking == nil {
			a.lacking = map[string]string{}
		}
		a.lacking[s] = code
	}
}

// mismatch refuses another request with a client token that was used.
func mismatch(r *request) answer {
	return r.fail(http.StatusBadRequest, "IdempotentParameterMismatch", "The request uses the same client token as a previous, but non-identical request.")
}

// run lets moto launch. It knows no images that other accounts share.
func (a *account) run(r *request) answer {
	id := r.form.Get("ImageId")
	if a.sharedBy(r.region, id) == nil {
		return a.server.forward(r)
	}
	form := url.Values{}
	maps.Copy(form, r.form)
	form.Set("ImageId", BaseImage)
	got := a.query(r, "ec2", "RunInstances", form)
	got.body = []byte(strings.ReplaceAll(string(got.body), BaseImage, id))
	return got
}

// sharedBy returns the account that shares an image of a region, or of any, with this one; nil for
// none.
func (a *account) sharedBy(region, image string) *account {
	for _, other := range a.server.others(a) {
		other.mu.Lock()
		i := other.images[image]
		shared := i.shared[a.cloud.ID] && (region == "" || region == i.region)
		other.mu.Unlock()
		if shared {
			return other
		}
	}
	return nil
}

// maxUserData is how many bytes of user data EC2 takes.
const maxUserData = 16 << 10

// describeInstances also finds the instances of a client token, which moto does not know.
func (a *account) describeInstances(r *request) answer {
	got := a.server.forward(a.byToken(r))
	if got.status == http.StatusOK {
		got.body = a.mendInstances(got.body)
	}
	return got
}

// byToken asks for the instances of a client token by their IDs.
func (a *account) byToken(r *request) *request {
	for n := 1; ; n++ {
		name := fmt.Sprintf("Filter.%d.", n)
		switch r.form.Get(name + "Name") {
		case "":
			return r
		case "client-token":
			form := maps.Clone(r.form)
			form.Set(name+"Name", "instance-id")
			for v := 1; r.form.Get(fmt.Sprintf("%sValue.%d", name, v)) != ""; v++ {
				value := fmt.Sprintf("%sValue.%d", name, v)
				a.mu.Lock()
				made := a.launches[r.form.Get(value)]
				a.mu.Unlock()
				form.Set(value, "i-0")
				if m := instanceID.FindSubmatch(made.answer.body); m != nil {
					form.Set(value, string(m[1]))
				}
			}
			asked := *r
			asked.form, asked.body = form, []byte(form.Encode())
			return &asked
		}
	}
}

// mendInstances puts the states and addresses of the bodies into an answer.
func (a *account) mendInstances(body []byte) []byte {
	var out strings.Builder
	rest := string(body)
	for {
		at := instanceID.FindStringSubmatchIndex(rest)
		if at == nil {
			break
		}
		item := rest[at[0]:]
		if next := instanceID.FindStringIndex(item[len("<instanceId>"):]); next != nil {
			item = item[:next[0]+len("<instanceId>")]
		}
		out.WriteString(rest[:at[0]])
		rest = rest[at[0]+len(item):]
		if i := a.instance(instanceID.FindStringSubmatch(item)[1]); i != nil {
			if why := i.why(); why != "" {
				item = stateElement.ReplaceAllString(stateReason.ReplaceAllString(item, ""), "$0"+why)
			}
			if state := i.state(); state != "" {
				item = stateElement.ReplaceAllString(item, "<instanceState><code>0</code><name>"+state+"</name></instanceState>")
			}
			item = privateIP.ReplaceAllString(item, "<privateIpAddress>"+i.address+"</privateIpAddress>")
			item = publicIP.ReplaceAllString(item, "<ipAddress>"+i.address+"</ipAddress>")
		}
		out.WriteString(item)
	}
	return []byte(out.String() + rest)
}

func (a *account) named(r *request) []*instance {
	var found []*instance
	for n := 1; ; n++ {
		id := r.form.Get(fmt.Sprintf("InstanceId.%d", n))
		if id == "" {
			return found
		}
		if i := a.instance(id); i != nil {
			found = append(found, i)
		}
	}
}

func (a *account) stopInstances(r *request) answer {
	for _, i := range a.named(r) {
		i.mu.Lock()
		gone := i.terminated
		i.mu.Unlock()
		if gone {
			return r.fail(http.StatusBadRequest, "IncorrectInstanceState", "The instance '"+i.id+"' is not in a state from which it can be stopped.")
		}
	}
	got := a.server.forward(r)
	if got.status == http.StatusOK {
		for _, i := range a.named(r) {
			i.halt(false)
		}
	}
	return got
}

func (a *account) startInstances(r *request) answer {
	got := a.server.forward(r)
	if got.status == http.StatusOK {
		pace := a.cloud.paced()
		for _, i := range a.named(r) {
			i.mu.Lock()
			i.stopped, i.restarted, i.reason = false, false, ""
			i.up, i.down = context.WithCancel(a.ctx)
			i.running = time.Now().Add(pace.Boot)
			i.registered = i.running.Add(pace.Agent)
			i.mu.Unlock()
			i.active.Go(i.boot)
		}
	}
	return got
}

// terminateInstances may be repeated, which the simulator refuses once an instance's
// network interface is gone.
func (a *account) terminateInstances(r *request) answer {
	const state = "<code>48</code><name>terminated</name>"
	var items strings.Builder
	living := len(a.named(r)) == 0
	for _, i := range a.named(r) {
		i.mu.Lock()
		living = living || !i.terminated
		i.mu.Unlock()
		fmt.Fprintf(&items, "<item><instanceId>%s</instanceId><currentState>%s</currentState><previousState>%s</previousState></item>", i.id, state, state)
	}
	if !living {
		return xml(http.StatusOK, "<TerminateInstancesResponse><requestId>repeated</requestId><instancesSet>"+items.String()+"</instancesSet></TerminateInstancesResponse>")
	}
	got := a.server.forward(r)
	if got.status == http.StatusOK {
		for _, i := range a.named(r) {
			i.halt(true)
		}
	}
	return got
}

// Terminate ends an instance as a failing host would.
func (c *Cloud) Terminate(ids ...string) {
	a := c.account()
	for _, id := range ids {
		if i := a.instance(id); i != nil {
			a.own("TerminateInstances", i.region, id)
			i.halt(true)
		}
	}
}

// own makes a request of nobody's to moto, which changes instances in a region.
func (a *account) own(action, region string, ids ...string) {
	values := url.Values{}
	for n, id := range ids {
		values.Set(fmt.Sprintf("InstanceId.%d", n+1), id)
	}
	hr, err := http.NewRequest(http.MethodPost, a.cloud.URL, nil)
	if err != nil {
		panic(err) // the URL is the proxy's
	}
	hr.Header.Set("Authorization", a.cloud.authorization(region, "ec2"))
	a.query(&request{Request: hr, service: "ec2", region: region, account: a}, "ec2", action, values)
}

// authorization is the header of a request of the proxy's own.
func (c *Cloud) authorization(region, service string) string {
	return "AWS4-HMAC-SHA256 Credential=" + c.AccessKey() + "/20260101/" + region + "/" + service + "/aws4_request, SignedHeaders=host, Signature=none"
}

// createImage keeps names unique, tags the snapshots, which moto can't, and copies
// the instance's files.
func (a *account) createImage(r *request) answer {
	name := r.form.Get("Name")
	i := a.instance(r.form.Get("InstanceId"))
	a.mu.Lock()
	for id, other := range a.images {
		if other.name == name {
			a.mu.Unlock()
			return r.fail(http.StatusBadRequest, "InvalidAMIName.Duplicate", "AMI name "+name+" is already in use by AMI "+id)
		}
	}
	a.mu.Unlock()
	form, tags := tagsFor(r.form, "snapshot")
	got := a.query(r, "ec2", "CreateImage", form)
	m := imageIDs.FindSubmatch(got.body)
	if got.status != http.StatusOK || m == nil {
		return got
	}
	id := string(m[1])
	if i != nil {
		dir := filepath.Join(a.dir, "images", id)
		if err := copyFiles(dir, i.root); err != nil {
			a.cloud.logf("copy the files of instance %s: %v", i.id, err)
		}
		for _, name := range []string{".bin", "run", "proc"} {
			_ = os.RemoveAll(filepath.Join(dir, name))
		}
	}
	a.mu.Lock()
	a.images[id] = image{name: name, region: r.region, available: time.Now().Add(a.cloud.paced().Image), failed: a.failing}
	a.mu.Unlock()
	if len(tags) > 0 {
		described := a.query(r, "ec2", "DescribeImages", url.Values{"ImageId.1": {id}})
		for _, s := range snapshotIDs.FindAllSubmatch(described.body, -1) {
			tags.Set("ResourceId.1", string(s[1]))
			a.query(r, "ec2", "CreateTags", tags)
			if i != nil && i.encrypts {
				a.encrypt(r, string(s[1]), i.key)
			}
		}
	}
	return got
}

// tagsFor takes the tags of a kind of resource out of a form.
func tagsFor(form url.Values, kind string) (rest, tags url.Values) {
	rest, tags = url.Values{}, url.Values{}
	for k, v := range form {
		if parts := strings.SplitN(k, ".", 3); parts[0] == "TagSpecification" && form.Get("TagSpecification."+parts[1]+".ResourceType") == kind {
			if strings.HasPrefix(parts[2], "Tag.") {
				tags[parts[2]] = v
			}
			continue
		}
		rest[k] = v
	}
	return rest, tags
}
