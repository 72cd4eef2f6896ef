"""What is owed: invoices, their lines and evidence."""
