# Read at every plan. Which files belong to which component decides what a commit
# sets off; what matches no pattern is application.
data "penstock_source" "shop" {
  repository     = "https://example.com/acme/shop.git"
  ref            = "main"
  infrastructure = ["image/**"]
  configuration  = ["config/**"]
  data           = ["db/**"]
  ignore         = ["docs/**", "*.md"]
}

output "head" {
  value = "${data.penstock_source.shop.commit} ${data.penstock_source.shop.message}"
}
