# One environment of the shop: nginx, and behind it the instances of one build. It has the
# output "endpoint", so that it is the whole environment: Penstock launches no instances.

variable "penstock" {
  description = "What Penstock says about the environment: the fields that this module uses."
  type = object({
    environment = string
    name        = string
    build       = string
    instances   = number
    artifact    = object({ url = string, digest = string })
  })
}

variable "directory" {
  description = "Directory in which each environment has one of its own, on this machine."
  type        = string
}

variable "nginx" {
  description = "The program nginx: its name or path."
  type        = string
  default     = "nginx"
}

variable "greeting" {
  description = "How the shop greets its customers."
  type        = string
  default     = "Hello"
}

locals {
  release = {
    artifact  = var.penstock.artifact
    instances = var.penstock.instances
    env       = { GREETING = var.greeting }
  }
}

# What is left at the end goes with this one. It is apart from what can fail: Terraform runs no
# destroy provisioner of a resource whose creation failed.
resource "terraform_data" "site" {
  input = { site = "${var.directory}/${var.penstock.environment}", nginx = var.nginx }

  provisioner "local-exec" {
    when        = destroy
    command     = "python3 site.py down"
    environment = { SITE = self.output.site, PROXY = self.output.nginx }
  }
}

# The proxy stays for the life of the environment.
resource "terraform_data" "proxy" {
  input = terraform_data.site.output

  provisioner "local-exec" {
    command     = "python3 site.py up"
    environment = { SITE = self.input.site, PROXY = self.input.nginx }
  }
}

# A release: its instances start beside those that serve. Once they are healthy, the proxy
# changes over, and the others end. If they don't get healthy, nothing has changed.
resource "terraform_data" "release" {
  triggers_replace = local.release

  provisioner "local-exec" {
    command = "python3 site.py deploy"
    environment = {
      SITE    = terraform_data.proxy.output.site
      PROXY   = terraform_data.proxy.output.nginx
      NAME    = "${var.penstock.build}-${substr(sha256(jsonencode(local.release)), 0, 8)}"
      RELEASE = jsonencode(local.release)
    }
  }
}

output "endpoint" {
  # The proxy chooses its port when it starts first, and keeps it.
  value = "http://127.0.0.1:${trimspace(file("${terraform_data.proxy.output.site}/port"))}"
}

output "access_log" {
  value = "${terraform_data.proxy.output.site}/logs/access.log"
}
