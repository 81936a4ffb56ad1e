# By pipeline and name
terraform import penstock_self_service_env.alice shop/alice
