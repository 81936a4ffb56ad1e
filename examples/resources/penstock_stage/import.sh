# By pipeline and name
terraform import penstock_stage.acceptance shop/acceptance
