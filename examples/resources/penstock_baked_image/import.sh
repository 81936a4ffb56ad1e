# By pipeline and name
terraform import penstock_baked_image.base shop/shop-base
