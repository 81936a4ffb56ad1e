# Read at every plan. The component of its files decides what a commit
# sets off; files that match no pattern belong to the application.
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
