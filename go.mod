module github.com/hc1-toolkit/hc1

go 1.26
