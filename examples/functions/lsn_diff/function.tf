# 16777216: one segment of WAL.
output "bytes" {
  value = provider::postgres::lsn_diff("16/B4000000", "16/B3000000")
}
