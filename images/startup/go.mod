module github.com/cyvive/cyvive/images/startup

go 1.26
