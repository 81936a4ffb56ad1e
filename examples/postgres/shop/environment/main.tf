# What the shop needs beside its instances: a PostgreSQL server for each environment, on this
# machine. It listens on a socket in its directory, so that it takes no port.

variable "penstock" {
  description = "What Penstock says about the environment: the fields that this module uses."
  type        = object({ environment = string, lasting = bool })
}

variable "directory" {
  description = "Directory in which each environment's server has one of its own. Its path is short: that of a socket has at most 100 characters."
  type        = string
}

# The password is made once, and stays: it is in the state of the environment.
resource "terraform_data" "password" {
  input = sha256("${uuid()}${uuid()}")

  lifecycle {
    ignore_changes = [input]
  }
}

# What is left at the end goes with this one. It is apart from what can fail: Terraform runs no
# destroy provisioner of a resource whose creation failed.
resource "terraform_data" "directory" {
  input = "${var.directory}/${var.penstock.environment}"

  provisioner "local-exec" {
    when        = destroy
    command     = "./server stop"
    environment = { DIRECTORY = self.output }
  }
}

# The server. It keeps data, as the pipeline's module.stateful says: it is never replaced by
# accident in production.
resource "terraform_data" "server" {
  input = terraform_data.directory.output

  provisioner "local-exec" {
    command     = "./server start"
    environment = { DIRECTORY = self.input, PASSWORD = terraform_data.password.output }
  }
}

output "env" {
  value = { DATABASE_URL = "postgresql://shop@/shop?host=${urlencode(terraform_data.server.output)}" }
}

# The service and its commands find the password in PGPASSWORD, as all clients of PostgreSQL do,
# so that none needs it as an argument, which everybody on the machine could read.
output "secret_env" {
  value     = { PGPASSWORD = terraform_data.password.output }
  sensitive = true
}

output "data" {
  value = { directory = terraform_data.server.output }
}

output "server_log" {
  value = "${terraform_data.server.output}/server.log"
}
