"""Customers and their people."""

from typing import ClassVar

from django.contrib.auth.models import AbstractBaseUser, BaseUserManager, PermissionsMixin
from django.db import models

from portal.models.fields import IdField


class UserManager(BaseUserManager["User"]):
    def create_user(self, email: str, password: str | None = None, **extra: object) -> "User":
        user = self.model(email=self.normalize_email(email).lower(), **extra)
        user.set_password(password)
        user.save(using=self._db)
        return user

    def create_superuser(self, email: str, password: str | None = None, **extra: object) -> "User":
        return self.create_user(
            email, password, is_staff=True, is_superuser=True, staff_role=StaffRole.ADMIN, **extra
        )


class StaffRole(models.TextChoices):
    """What a person of the API provider may do; customers have none."""

    NONE = "", "Customer"
    ADMIN = "admin", "Admin"
    FINANCE = "finance", "Finance"


class User(AbstractBaseUser, PermissionsMixin):
    """A person; signs in with an e-mail address."""

    id = IdField(prefix="usr")
    email = models.EmailField(unique=True)
    name = models.CharField(max_length=120, blank=True)
    staff_role = models.CharField(max_length=16, choices=StaffRole, default="", blank=True)
    is_active = models.BooleanField(default=True)
    is_staff = models.BooleanField(default=False)  # may enter the break-glass admin
    date_joined = models.DateTimeField(auto_now_add=True)
    first_2xx_at = models.DateTimeField(null=True, blank=True)

    objects: ClassVar[UserManager] = UserManager()
    USERNAME_FIELD = "email"
    EMAIL_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []

    def __str__(self) -> str:
        return self.email


class Organization(models.Model):
    """The customer: members, billing details, consumers, subscriptions, invoices."""

    id = IdField(prefix="org")
    name = models.CharField(max_length=120)
    slug = models.SlugField(max_length=60, unique=True)
    is_personal = models.BooleanField(default=False)
    billing_email = models.EmailField(blank=True)
    address = models.TextField(blank=True)
    country = models.CharField(max_length=2, blank=True)
    tax_id = models.CharField(max_length=40, blank=True)
    currency = models.CharField(max_length=3, default="USD")
    tax_rate_percent = models.CharField(max_length=12, default="0")  # decimal text
    past_due_since = models.DateTimeField(null=True, blank=True)  # written by billing
    blocked_at = models.DateTimeField(null=True, blank=True)  # grace is over: 402 at the gateway
    suspended_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField()

    def __str__(self) -> str:
        return self.name


class Role(models.TextChoices):
    """What a member may do in one organization."""

    OWNER = "owner", "Owner"
    ADMIN = "admin", "Admin"
    DEVELOPER = "developer", "Developer"
    BILLING = "billing", "Billing"


class Membership(models.Model):
    organization = models.ForeignKey(Organization, models.CASCADE, related_name="memberships")
    user = models.ForeignKey(User, models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=16, choices=Role)
    created_at = models.DateTimeField()

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["organization", "user"], name="membership_once")
        ]

    def __str__(self) -> str:
        return f"{self.user_id} in {self.organization_id} as {self.role}"


class Invitation(models.Model):
    """An open offer of membership; the token is stored hashed."""

    id = IdField(prefix="inv")
    organization = models.ForeignKey(Organization, models.CASCADE, related_name="invitations")
    email = models.EmailField()
    role = models.CharField(max_length=16, choices=Role)
    token_hash = models.CharField(max_length=64, unique=True)
    invited_by = models.ForeignKey(User, models.SET_NULL, null=True)
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    accepted_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return f"{self.email} to {self.organization_id}"
