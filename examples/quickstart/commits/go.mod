// The directories beside this file are laid over the shop by the quickstart, one
// for each commit of its show. They are a module of their own so that their files
// are no packages of the provider.
module example.com/shop/commits

go 1.22
