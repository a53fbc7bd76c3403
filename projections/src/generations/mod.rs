//! Where generations live, which one is live, and the swap from one to the next.
