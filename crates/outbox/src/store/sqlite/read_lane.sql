-- Who holds the lane and until when. Index: primary key. Lock: none. Repeat: reads the same.
select node, lease_until from outbox_lane where lane = 0
