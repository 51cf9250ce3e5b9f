-- rates: how many jobs ended lately, by queue.
--   in     :since, the first second that counts
--   out    a row a queue: its id, how many, the first second that is there
--   locks  none: a reader
--   index  none: at most a minute of seconds a queue
select queue, total(n), min(second) from ended where second >= :since group by queue
