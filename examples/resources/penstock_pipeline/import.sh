# By name
terraform import penstock_pipeline.shop shop
