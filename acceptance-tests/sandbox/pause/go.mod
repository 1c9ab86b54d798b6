module github.com/pgha/sandbox/pause

go 1.25.0
