# What shorter timings would bring, before they are set.
output "seconds" {
  value = provider::postgres::failover_bound_seconds({
    renew_interval = "1s"
    fence_after    = "4s"
    lease_duration = "6s"
  })
}
