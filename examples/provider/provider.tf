terraform {
  required_providers {
    penstock = {
      source = "penstock-io/penstock"
    }
  }
}

# Everything is kept in .penstock/ beside the configuration.
provider "penstock" {}
