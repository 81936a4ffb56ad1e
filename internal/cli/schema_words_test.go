// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cli

// meanings describe the fields whose comment in the code says nothing, as the name says it there.
// One name means the same wherever it has no comment.
var meanings = map[string]string{
	"duration_seconds": "how long it took", "took_seconds": "how long it took", "mean_seconds": "of the latencies", "max_seconds": "of the latencies", "p50_seconds": "of the latencies", "p95_seconds": "of the latencies", "p99_seconds": "of the latencies",
	"up_to_seconds": "the bucket's highest latency", "median_seconds": "half of them took no longer", "p90_seconds": "nine of ten took no longer",
	"actor": "the person, or the role, that did it", "owner": "the person who owns it", "author": "who wrote the commit",
	"pipeline": "the pipeline's name", "stage": "the stage's name", "build": "a build's ID", "builds": "IDs of builds",
	"run": "a run's ID", "id": "the ID", "name": "the name", "commit": "a commit's ID", "ref": "the branch or tag that was asked for",
	"repository": "the address of the repository", "message": "the first line of the message", "reason": "why", "error": "why it failed",
	"application": "the digest of the component", "configuration": "the digest of the component", "infrastructure": "the digest of the component", "data": "the digest of the component",
	"components": "digests of the components of the commit", "inputs": "what the run was about beside the build", "digest": "of the stage's definition", "order": "a build's place among those of the pipeline, from 1",
	"image": "an image's ID", "images": "the baked images", "base_image": "the ID of the image that the build is installed on", "baked_at": "when it was baked", "artifacts": "digests of artifacts", "work_dirs": "directories",
	"created_at": "when it was made", "started_at": "when it began", "ended_at": "when it ended", "expires_at": "when it ends by itself", "committed_at": "when the build's commit was made", "ready_at": "when the build might have entered the stage",
	"since_at": "since when", "decision": "from the run to a person's decision",
	"status": "where it stands, in one word", "kind": "what is run: stage or bake", "phase": "how far the run has come: checkout, environment, steps, artifact, bake, shift, tear-down or done", "type": "the stage's type", "purpose": "what the environment is for: run, stage, self-service or exploratory", "result": "approved or rejected", "votes": "the approvals that were there",
	"stages": "in order", "environments": "those of stages, and people's", "endpoint": "the address at which the service answers", "instances": "how many the environment has", "log": "where the log of the latest run is", "waiting_for": "what it waits for, in words",
	"run_status": "of the latest run", "run_error": "of the latest run", "run_started_at": "of the latest run", "run_ended_at": "of the latest run", "step": "the step that runs", "steps": "in order", "of": "how many steps there are",
	"attempts": "how often it was tried", "exit_code": "of its command", "tests": "what its JUnit report says", "load": "what its load test measured", "total": "all tests", "skipped": "tests that were skipped",
	"requests": "requests that were sent", "errors": "requests that failed", "error_rate": "a share of the requests, from 0 to 1", "rate": "requests per second", "min_throughput": "successful requests per second", "histogram": "answers by latency", "count": "how many there are",
	"deployments": "that passed", "failures": "changes that failed or were taken back", "changes": "deployments of another build", "periods": "the time in equal parts", "per_day": "deployments per day", "waits": "for how long builds wait at each stage",
	"from": "what it is compared with", "to": "what is compared", "lineage": "the images of each, from the build's to the first", "path": "in the repository", "removed": "lines that are gone",
	"check": "what was examined", "text": "what was found", "remedy": "what to do", "event": "what happened", "events": "how many entries there are", "sequence": "the number of the newest entry", "host": "the machine", "pid": "the process on it", "target": "who is notified",
	"in_use": "whether the context is in use", "data_dir": "the data directory", "stack": "the CloudFormation stack", "region": "the AWS region", "profile": "the AWS profile", "format": "text, svg, mermaid or dot", "file": "the file that was written", "language": "that the service is written in",
	"shadowed_by": "another program of the name, which the shell finds first", "url": "the board's address", "version": "of the program", "kept": "what the stack leaves behind",
	"approver_role": "an ARN", "deployer_role": "an ARN", "launcher_role": "an ARN", "runner_role": "an ARN", "scheduler_role": "an ARN", "bucket": "the name of the bucket", "table": "the name of the table", "vpc": "an ID",
	"instance_security_group": "an ID", "load_balancer_security_group": "an ID", "private_subnets": "IDs", "public_subnets": "IDs", "template_version": "of the stack",
}
