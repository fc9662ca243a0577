"""What the rehearsal of an upgrade is made of: releases, a site, and the transcript."""
